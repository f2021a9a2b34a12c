//! `intensity fetch` as a site behind a proxy runs it: the provider's own address, TLS, a token.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{Ran, command, ran};

const NAME: &str = "api.electricitymaps.com";
const TOKEN: &str = "s3cret-t0ken";

/// Writes `cert.pem` and `key.pem`: a certificate of the provider's name that only we vouch for.
fn certify(dir: &Path) {
    let config = format!(
        "[req]\nprompt=no\ndistinguished_name=n\nx509_extensions=x\n[n]\nCN={NAME}\n\
         [x]\nbasicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:{NAME}\n"
    );
    fs::write(dir.join("req.cnf"), config).unwrap();
    let args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
                -config req.cnf -keyout key.pem -out cert.pem";
    let made = Command::new("openssl").args(args.split(' ')).current_dir(dir).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A proxy that is the provider, too: what it was asked for in clear, and what through TLS.
struct Proxy {
    port: u16,
    clear: Arc<Mutex<Vec<String>>>,
    sealed: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(dir: &Path) -> Self {
        let certs = vec![CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certs, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Self { port, clear: Arc::default(), sealed: Arc::default() };
        let (clear, sealed) = (Arc::clone(&proxy.clear), Arc::clone(&proxy.sealed));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                clear.lock().unwrap().push(head(&mut stream));
                let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
                let tls = ServerConnection::new(Arc::new(config.clone())).unwrap();
                // Who does not trust us hangs up.
                let _ = answer(StreamOwned::new(tls, stream), &sealed);
            }
        });
        proxy
    }
}

/// A request's head, byte by byte, so that nothing of what follows is taken.
fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

fn answer(
    mut tls: StreamOwned<ServerConnection, TcpStream>,
    sealed: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let lines = BufReader::new(&mut tls).lines().map_while(Result::ok);
    let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    if request.is_empty() {
        return Ok(());
    }
    let hour =
        r#"{"carbonIntensity":101,"datetime":"2026-11-23T08:00:00.000Z","isEstimated":false}"#;
    let key = if request[0].contains("/forecast") { "forecast" } else { "history" };
    let body = format!(r#"{{"zone":"DE","{key}":[{hour}]}}"#);
    sealed.lock().unwrap().push(request.join("\n"));
    let length = body.len();
    write!(tls, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")?;
    tls.conn.send_close_notify();
    tls.flush()
}

fn fetch(dir: &Path, proxy: &Proxy, cert_file: Option<&str>) -> Ran {
    let mut command = command(dir, &["intensity", "fetch", "--config", "c.toml"]);
    for name in ["NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "SSL_CERT_FILE"] {
        command.env_remove(name);
    }
    command.env("https_proxy", format!("http://127.0.0.1:{}", proxy.port));
    cert_file.into_iter().for_each(|file| {
        command.env("SSL_CERT_FILE", file);
    });
    ran(command.output().unwrap())
}

#[test]
fn the_providers_own_address_is_reached_by_tls_through_the_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certify(dir);
    let proxy = Proxy::start(dir);
    let (series, token) = (dir.join("series.csv"), dir.join("token"));
    fs::write(&token, TOKEN).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let config = format!(
        "[carbon]\nzone = \"DE\"\nseries_file = {series:?}\n\
         [carbon.fetch]\nprovider = \"electricitymaps\"\ntoken_file = {token:?}\n"
    );
    fs::write(dir.join("c.toml"), config).unwrap();

    // Mozilla's list does not know who vouches for it, and nothing is asked.
    let ran = fetch(dir, &proxy, None);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("invalid peer certificate"), "{ran:?}");
    assert!(ran.stderr.contains("hint: where a proxy has a certificate of its own"), "{ran:?}");
    assert!(proxy.sealed.lock().unwrap().is_empty() && !series.exists());
    let n_tries = proxy.clear.lock().unwrap().len();
    assert_eq!(n_tries, 1, "a certificate that is wrong is so the next time");

    let ran = fetch(dir, &proxy, Some("cert.pem"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        fs::read_to_string(&series).unwrap(),
        "time,zone,g_per_kwh,source\n2026-11-23T08:00:00Z,DE,101,Electricity Maps actual\n"
    );
    // The proxy sees the name, and only the provider the token.
    let clear = proxy.clear.lock().unwrap().concat();
    assert!(clear.starts_with(&format!("CONNECT {NAME}:443 HTTP/1.1\r\n")), "{clear}");
    assert!(!clear.contains(TOKEN), "{clear}");
    let sealed = proxy.sealed.lock().unwrap().clone();
    assert_eq!(sealed.len(), 2, "{sealed:?}");
    assert!(sealed.iter().all(|r| r.to_lowercase().contains(&format!("auth-token: {TOKEN}"))));

    for (file, says) in [("none.pem", "No such file"), ("req.cnf", "holds no certificate")] {
        let ran = fetch(dir, &proxy, Some(file));
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(says) && ran.stderr.contains("hint: let it name"), "{ran:?}");
    }
}
