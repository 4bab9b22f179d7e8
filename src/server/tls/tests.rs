//! TLS as clients meet it: both protocols on one port, refusals, identities that change, and clients that misbehave.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity as ClientIdentity};

use super::{Gate, LocalAuthority, LocalName, TlsError, TlsFiles, TlsIdentity, TlsOptions};
use crate::{
    api::ensign::{HealthCheck, ensign_client::EnsignClient},
    model::{Secret, Time},
    server::{Server, ServerOptions, Storage},
    sys::{Clock, Entropy, ManualClock},
};

const LIVE: &[u8] = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

fn now() -> Time {
    Clock::real().now()
}

fn authority() -> LocalAuthority {
    LocalAuthority::create(&[], now()).unwrap()
}

async fn serve(identity: TlsIdentity, only: bool) -> Server {
    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let tls = Some(TlsOptions { identity, only });
    let options = ServerOptions { tls, ..ServerOptions::new(addr, Storage::Memory) };
    Server::start(options, Clock::real(), Entropy::real()).await.unwrap()
}

/// A client's certificate and its key, and the authority that made it, all in PEM.
fn client_certificate() -> (String, String, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate().unwrap();
    let root = params.self_signed(&root_key).unwrap();
    let mut leaf = CertificateParams::new(["client".to_owned()]).unwrap();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &Issuer::new(params, root_key)).unwrap();
    (certificate.pem(), key.serialize_pem(), root.pem())
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    roots
}

/// Shakes hands for HTTP/1.1.
async fn shake(addr: SocketAddr, ca: &str, client: Option<(&str, &str)>) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots(ca));
    let mut config = match client {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(addr).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Asks whether the server lives, and gives its whole answer.
async fn live(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> String {
    stream.write_all(LIVE).await.unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    String::from_utf8(reply).unwrap()
}

async fn status(channel: Result<Channel, tonic::transport::Error>) -> Result<(), String> {
    let chain = |error: &dyn std::error::Error| {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    };
    let channel = channel.map_err(|error| chain(&error))?;
    let answered = EnsignClient::new(channel).status(HealthCheck::default()).await;
    answered.map(drop).map_err(|status| chain(&status))
}

async fn plain_status(addr: SocketAddr) -> Result<(), String> {
    status(Channel::from_shared(format!("http://{addr}")).unwrap().connect().await).await
}

async fn tls_status(addr: SocketAddr, tls: ClientTlsConfig) -> Result<(), String> {
    let url = format!("https://localhost:{}", addr.port());
    status(Channel::from_shared(url).unwrap().tls_config(tls).unwrap().connect().await).await
}

fn trusting(ca: &str) -> ClientTlsConfig {
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca))
}

#[tokio::test]
async fn one_port_takes_both_with_both_versions_of_http() {
    let authority = authority();
    let server = serve(authority.identity(&[], now()).unwrap(), false).await;
    let addr = server.addr();
    plain_status(addr).await.unwrap();
    tls_status(addr, trusting(authority.certificate())).await.unwrap();
    assert!(live(TcpStream::connect(addr).await.unwrap()).await.starts_with("HTTP/1.1 200"));
    let stream = shake(addr, authority.certificate(), None).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(live(stream).await.starts_with("HTTP/1.1 200"));

    // Whoever does not know the authority does not talk to the server.
    let refused =
        tls_status(addr, trusting(LocalAuthority::create(&[], now()).unwrap().certificate())).await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn plaintext_is_refused_in_its_own_words() {
    let authority = authority();
    let server = serve(authority.identity(&[], now()).unwrap(), true).await;
    let addr = server.addr();
    let reply = live(TcpStream::connect(addr).await.unwrap()).await;
    assert!(reply.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{reply}");
    assert!(reply.ends_with("\r\n\r\nthis port speaks TLS only: use https://\n"), "{reply}");
    let refused = plain_status(addr).await.unwrap_err();
    assert!(refused.contains("this port speaks TLS only"), "{refused}");
    tls_status(addr, trusting(authority.certificate())).await.unwrap();

    // What is neither gets the text, too, and whoever says nothing gets nothing.
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"PRX").await.unwrap();
    let mut reply = String::new();
    stream.shutdown().await.unwrap();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 426"), "{reply}");
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn another_identity_is_shown_to_those_who_come_next() {
    let authority = authority();
    let server = serve(authority.identity(&[], now()).unwrap(), true).await;
    let shown = async |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let before = shake(server.addr(), authority.certificate(), None).await.unwrap();
    let next = authority.identity(&[], now()).unwrap();
    server.certificates().unwrap().replace(next);
    let after = shake(server.addr(), authority.certificate(), None).await.unwrap();
    assert_ne!(shown(&before).await, shown(&after).await);
    // Who was there before stays.
    assert!(live(before).await.starts_with("HTTP/1.1 200"));
    assert!(live(after).await.starts_with("HTTP/1.1 200"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn clients_show_certificates_when_they_are_asked_to() {
    let (certificate, key, clients) = client_certificate();
    let (server_certificate, server_key, ca) = server_certificate();
    let key_secret = Secret::new(server_key);
    let made = TlsIdentity::from_pem(server_certificate.as_bytes(), &key_secret, Some(clients.as_bytes()), now());
    // That plaintext would be welcome does not help: it would go around the certificates.
    let server = serve(made.unwrap(), false).await;
    let addr = server.addr();
    let trusting = || trusting(&ca);
    tls_status(addr, trusting().identity(ClientIdentity::from_pem(&certificate, &key))).await.unwrap();
    tls_status(addr, trusting()).await.unwrap_err();
    let (stranger, stranger_key, _) = client_certificate();
    tls_status(addr, trusting().identity(ClientIdentity::from_pem(stranger, stranger_key))).await.unwrap_err();
    plain_status(addr).await.unwrap_err();
    assert!(live(TcpStream::connect(addr).await.unwrap()).await.starts_with("HTTP/1.1 426"));
    assert!(live(shake(addr, &ca, Some((&certificate, &key))).await.unwrap()).await.starts_with("HTTP/1.1 200"));
    server.stop().await.unwrap();
}

/// A server's certificate that signs itself, its key, and once more the certificate.
fn server_certificate() -> (String, String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    (certificate.clone(), key.serialize_pem(), certificate)
}

#[tokio::test]
async fn an_ended_certificate_is_seen_by_both_sides() {
    let then = Time::parse("2020-01-01").unwrap();
    let authority = LocalAuthority::create(&[], then).unwrap();
    let server = serve(authority.identity(&[], then).unwrap(), true).await;
    let refused = tls_status(server.addr(), trusting(authority.certificate())).await.unwrap_err();
    assert!(refused.contains("certificate expired"), "{refused}");
    server.stop().await.unwrap();
}

/// A client that sends one byte and then nothing is let go; who comes after it does not wait for it.
#[tokio::test]
async fn slow_clients_are_bounded() {
    let authority = authority();
    let server = serve(authority.identity(&[], now()).unwrap(), true).await;
    let mut slow = Vec::new();
    for byte in [&[0x16][..], b"G", b"P", b""].into_iter().cycle().take(64) {
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        stream.write_all(byte).await.unwrap();
        slow.push(stream);
    }
    tls_status(server.addr(), trusting(authority.certificate())).await.unwrap();
    server.stop().await.unwrap();

    // A manual clock's sleep is over at once: what waits for the client is given up.
    let gate = Gate::new(TlsOptions { identity: authority.identity(&[], now()).unwrap(), only: false });
    let clock = Clock::manual(ManualClock::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for byte in [&[0x16][..], b""] {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(byte).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        assert!(gate.open(stream, peer, &clock, &CancellationToken::new()).await.is_none());
        assert_eq!(client.read(&mut [0; 16]).await.unwrap_or(0), 0);
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_wrong_with_files_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let files = TlsFiles { certificate: path("cert.pem"), key: path("key.pem"), client_authorities: None };
    let check = |files: &TlsFiles, expected: &str| {
        let error = files.load(now()).unwrap_err();
        let mut text = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            text = format!("{text}: {source}");
        }
        let text = text.replace(&format!("{}/", dir.path().display()), "");
        assert!(text.starts_with(expected), "{text}");
    };
    let (certificate, key, _) = server_certificate();
    check(&files, "could not read cert.pem: No such file");
    write(&path("cert.pem"), "nothing", 0o644);
    write(&path("key.pem"), "nothing", 0o600);
    check(&files, "cert.pem has no certificate in it; it has to be PEM");
    write(&path("cert.pem"), &certificate, 0o644);
    check(&files, "key.pem has no private key in it; it has to be PEM, and not encrypted");
    write(&path("key.pem"), &server_certificate().1, 0o600);
    check(&files, "the certificate in cert.pem can't be used: keys may not be consistent");
    write(&path("key.pem"), &key, 0o604);
    check(&files, "everybody on the machine may use the private key in key.pem, whose permissions are 604");
    write(&path("key.pem"), &key, 0o640);
    files.load(now()).unwrap();
    write(&path("key.pem"), &key, 0o600);
    files.load(now()).unwrap();
    let clients = TlsFiles { client_authorities: Some(path("key.pem")), ..files.clone() };
    check(&clients, "key.pem has no certificate in it");
    let garbage = certificate.replacen("MII", "AAA", 1);
    write(&path("cert.pem"), &garbage, 0o644);
    check(&files, "cert.pem has no certificate in it");

    let local = LocalAuthority::create(&[], now()).unwrap();
    let late = Time::parse("2199-01-01").unwrap();
    let error = TlsIdentity::from_pem(local.certificate().as_bytes(), &Secret::new(key), None, late).unwrap_err();
    assert!(matches!(error, TlsError::Ended { .. }), "{error}");
    assert!(error.to_string().starts_with("the certificate in the certificate ended on "), "{error}");
}

#[tokio::test]
async fn an_authority_is_kept_and_speaks_for_its_names_alone() {
    let dir = tempfile::tempdir().unwrap();
    let name = |text: &str| text.parse::<LocalName>().unwrap();
    let keep = |asked: &[LocalName], at: Time| {
        LocalAuthority::keep(dir.path(), asked, &[name("machine.example")], at).unwrap()
    };
    let (first, made) = keep(&[], now());
    assert!(made);
    let mode = |file: &str| std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("authority.pem"), mode("ca.pem") & 0o400), (0o600, 0o400));
    assert_eq!(std::fs::read_to_string(dir.path().join("ca.pem")).unwrap(), first.certificate());

    let (again, made) = keep(&[name("machine.example"), name("localhost"), name("::1")], now());
    assert_eq!((again.certificate(), made), (first.certificate(), false));
    let (other, made) = keep(&[name("192.0.2.7"), name("db.example")], now());
    assert!(made && other.certificate() != first.certificate());
    let (renewed, made) = keep(&[], Time::parse("2036-06-01").unwrap());
    assert!(made && renewed.certificate() != other.certificate(), "its end is near");

    // Names that it may speak for are in the certificate, others are not.
    let identity = other.identity(&[name("db.example"), name("elsewhere.example")], now()).unwrap();
    let server = serve(identity, true).await;
    let addr = server.addr();
    let named = |domain: &str| trusting(other.certificate()).domain_name(domain);
    for good in ["localhost", "db.example", "127.0.0.1", "::1"] {
        tls_status(addr, named(good)).await.unwrap();
    }
    let refused = tls_status(addr, named("elsewhere.example")).await.unwrap_err();
    assert!(refused.contains("not valid for name"), "{refused}");
    server.stop().await.unwrap();

    std::fs::write(dir.path().join("authority.pem"), "garbage").unwrap();
    let garbled = LocalAuthority::keep(dir.path(), &[], &[], now()).unwrap_err();
    assert!(garbled.to_string().contains("authority.pem is no certificate authority"), "{garbled}");
    for bad in ["", "a b", "a..b", "-a", "1.2.3", "é", "*.example"] {
        assert!(bad.parse::<LocalName>().is_err(), "{bad}");
    }
}

/// Whoever gets hold of the authority's key gains nothing with other names: clients see that it may not speak for them.
#[tokio::test]
async fn an_authority_is_constrained_to_its_names() {
    let dir = tempfile::tempdir().unwrap();
    let (real, _) = LocalAuthority::keep(dir.path(), &[], &[], now()).unwrap();
    let path = dir.path().join("authority.pem");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("Names: ", "Names: bank.example ", 1)).unwrap();
    let bank: LocalName = "bank.example".parse().unwrap();
    let (forged, made) = LocalAuthority::keep(dir.path(), std::slice::from_ref(&bank), &[], now()).unwrap();
    assert!(!made);
    let server = serve(forged.identity(&[bank], now()).unwrap(), true).await;
    let refused =
        tls_status(server.addr(), trusting(real.certificate()).domain_name("bank.example")).await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    server.stop().await.unwrap();
}
