//! Looks at a page as a browser lays it out.
//!
//! Where no Chromium is installed the tests say so and pass; with `CT_CHROMIUM=required` in the
//! environment they fail. With `CT_SCREENSHOTS=DIR` every page that is looked at is kept there as
//! an image.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const NAMES: [&str; 4] =
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];

/// Says how the page is laid out: what is too wide, what charts show, which colours there are.
const SCRIPT: &str = "<script>addEventListener('load',()=>{
const w=document.documentElement.clientWidth, seen=e=>e.getClientRects().length>0;
const wide=[...document.querySelectorAll('main *')].filter(e=>seen(e)&&!e.closest('.table')
  &&e.getBoundingClientRect().right>w+1).map(e=>e.tagName+' '+(e.textContent||'').slice(0,30));
const charts=[...document.querySelectorAll('figure svg')].filter(seen).map(svg=>{
  const box=svg.getBoundingClientRect();
  const bars=[...svg.querySelectorAll('rect')].map(r=>r.getBoundingClientRect())
    .filter(r=>r.height>1&&r.width>=1&&r.top>box.top+box.height*0.18).length;
  const outside=[...svg.querySelectorAll('text')].map(t=>[t,t.getBoundingClientRect()])
    .filter(([,r])=>r.left<box.left-1||r.right>box.right+1||r.bottom>box.bottom+1).map(([t])=>t.textContent);
  const text=svg.querySelector('text');
  return {bars,outside,fill:getComputedStyle(text).fill,size:text.getBoundingClientRect().height};});
const out={overflow:document.documentElement.scrollWidth-w,wide,charts,
  background:getComputedStyle(document.body).backgroundColor,color:getComputedStyle(document.body).color};
const pre=document.createElement('pre');pre.id='laid-out';pre.textContent=btoa(unescape(encodeURIComponent(JSON.stringify(out))));
document.body.append(pre);});</script>";

/// The browser, if there is one.
///
/// # Panics
///
/// Where there is none and `CT_CHROMIUM=required`.
#[expect(clippy::print_stderr, reason = "a skipped test says so where cargo test shows it")]
pub(crate) fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    let found = NAMES.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    let found = found.into_iter().find(|program| program.is_file());
    if found.is_none() {
        let reason = format!("none of {} is installed", NAMES.join(", "));
        assert!(
            env::var("CT_CHROMIUM").as_deref() != Ok("required"),
            "CT_CHROMIUM=required, but {reason}"
        );
        let text = format!("test of pages in a browser skipped: {reason}");
        eprintln!("{text}");
        // tests/run.sh shows it at its end.
        if let Some(path) = env::var_os("CT_SKIPPED") {
            let file = OpenOptions::new().append(true).open(path);
            let _ = file.and_then(|mut file| writeln!(file, "{text}"));
        }
    }
    found
}

/// A page in a window of this width, light or dark.
pub(crate) struct Window<'a> {
    pub(crate) browser: &'a Path,
    pub(crate) width: u32,
    pub(crate) is_dark: bool,
}

impl Window<'_> {
    /// Lays the page out and says how.
    pub(crate) fn look_at(&self, page: &Path) -> Value {
        // The page itself forbids scripts.
        let text = fs::read_to_string(page).unwrap();
        let policy = text.find("<meta http-equiv=\"Content-Security-Policy\"").expect("a policy");
        let end = policy + text[policy..].find('>').expect("the end of the policy") + 1;
        let scripted = format!("{}{SCRIPT}{}", &text[..policy], &text[end..]);
        let copy = page.with_extension("scripted.html");
        fs::write(&copy, scripted).unwrap();
        self.keep_image(page);
        let output = self.run(&["--virtual-time-budget=3000", "--dump-dom"], &copy);
        let dom = String::from_utf8(output).unwrap();
        let said = dom.split_once("<pre id=\"laid-out\">").unwrap_or_else(|| panic!("{dom}")).1;
        serde_json::from_slice(&base64(said.split_once('<').unwrap().0)).unwrap()
    }

    fn keep_image(&self, page: &Path) {
        let Some(dir) = env::var_os("CT_SCREENSHOTS").map(PathBuf::from) else { return };
        let stem = page.file_stem().unwrap().to_string_lossy();
        let shade = if self.is_dark { "dark" } else { "light" };
        let image = dir.join(format!("{stem}-{}-{shade}.png", self.width));
        self.run(&[&format!("--screenshot={}", image.display())], page);
    }

    fn run(&self, args: &[&str], page: &Path) -> Vec<u8> {
        let profile = tempfile::tempdir().unwrap();
        let scheme = u8::from(!self.is_dark);
        let output = Command::new("timeout")
            .args(["60".as_ref(), self.browser.as_os_str()])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--window-size={},2400", self.width))
            .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
            .args(args)
            .arg(format!("file://{}", page.display()))
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{} ended with {}", self.browser.display(), output.status);
        output.stdout
    }
}

/// Bytes of a text in base 64.
fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u32> = text.bytes().filter_map(digit).map(u32::from).collect();
    let bytes = digits.chunks(4).flat_map(|four| {
        let bits = four.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - four.len()));
        bits.to_be_bytes().into_iter().skip(1).take(four.len() - 1)
    });
    bytes.collect()
}
