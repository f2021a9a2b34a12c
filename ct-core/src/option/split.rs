//! `KEY:VALUE[,KEY:VALUE…]` into pairs; a backslash takes the next comma or colon literally.

/// One item between commas.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// What stands before the colon.
    pub(super) key: String,
    /// What stands after it; `None` where there is no colon.
    pub(super) value: Option<String>,
}

/// Splits an option text. `components:gpu,cpu` is one item, as the comma is upstream's own.
pub(super) fn items(text: &str) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for item in raw_items(text) {
        if let (None, Some(last)) = (&item.value, items.last_mut())
            && last.key == "components"
            && ["cpu", "gpu"].contains(&item.key.as_str())
            && let Some(value) = &mut last.value
        {
            value.push('+');
            value.push_str(&item.key);
            continue;
        }
        items.push(item);
    }
    items
}

fn raw_items(text: &str) -> Vec<Item> {
    let mut items = vec![Item { key: String::new(), value: None }];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(item) = items.last_mut() else { break };
        match c {
            '\\' if matches!(chars.peek(), Some(',' | ':' | '\\')) => {
                let literal = chars.next().unwrap_or(c);
                item.value.as_mut().unwrap_or(&mut item.key).push(literal);
            }
            ',' => items.push(Item { key: String::new(), value: None }),
            ':' if item.value.is_none() => item.value = Some(String::new()),
            _ => item.value.as_mut().unwrap_or(&mut item.key).push(c),
        }
    }
    items
}
