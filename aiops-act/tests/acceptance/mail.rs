//! Mail, against a small server of our own that speaks as RFC 5321 says.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiops_act::approver::remote::{Letter, Post};
use aiops_act::notify::smtp::{Smtp, SmtpConfig};
use aiops_act::testing::{check_notifier, message};
use aiops_act::{Notifier, SendError};

/// Takes mail, or answers every `RCPT` with this.
struct MailServer {
    address: SocketAddr,
    mails: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    fn answering(rcpt: &'static str) -> MailServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, mails) =
            (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let kept = mails.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, kept) = (stream.unwrap(), kept.clone());
                std::thread::spawn(move || talk(stream, rcpt, &kept));
            }
        });
        MailServer { address, mails }
    }

    fn config(&self) -> SmtpConfig {
        SmtpConfig {
            host: "127.0.0.1".to_owned(),
            port: self.address.port(),
            from: "engine@example.org".to_owned(),
            to: vec!["ops@example.org".to_owned(), "second@example.org".to_owned()],
            people: [("ada".to_owned(), "ada@example.org".to_owned())].into(),
            timeout: Duration::from_millis(500),
            ..SmtpConfig::default()
        }
    }

    fn smtp(&self) -> Smtp {
        self.config().build().unwrap()
    }

    fn mails(&self) -> Vec<String> {
        self.mails.lock().unwrap().clone()
    }
}

fn talk(mut stream: TcpStream, rcpt: &str, mails: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut say = |text: &str| stream.write_all(format!("{text}\r\n").as_bytes()).is_ok();
    let mut envelope = String::new();
    say("220 test ESMTP");
    while let Some(Ok(line)) = lines.next() {
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" => "250-test\r\n250 8BITMIME",
            "RCPT" => {
                envelope.push_str(&format!("{line}\n"));
                rcpt
            }
            "DATA" => {
                say("354 go on");
                let mut mail = std::mem::take(&mut envelope);
                for line in lines.by_ref().map_while(Result::ok) {
                    if line == "." {
                        break;
                    }
                    mail.push_str(&format!("{line}\n"));
                }
                mails.lock().unwrap().push(mail);
                "250 taken"
            }
            "QUIT" => {
                say("221 bye");
                return;
            }
            _ => "250 ok",
        };
        if !say(answer) {
            return;
        }
    }
}

#[tokio::test]
async fn a_message_is_mailed_with_an_id_by_which_a_second_copy_is_known() {
    let server = MailServer::answering("250 ok");
    let smtp = server.smtp();
    check_notifier(&smtp).await;
    let mails = server.mails();
    assert!(mails[0].contains("RCPT TO:<ops@example.org>\nRCPT TO:<second@example.org>"));
    assert!(mails[0].contains("Subject: the title") && mails[0].contains("because of a test"));
    let id = |mail: &str| mail.lines().find(|l| l.starts_with("Message-ID:")).unwrap().to_owned();
    assert_eq!(id(&mails[0]), id(&mails[1]), "sent again with the same id");

    // A title cannot add a receiver or a header.
    smtp.send(&message("x\r\nBcc: mallory@example.org\r\n\r\nhello")).await.unwrap();
    let last = server.mails().pop().unwrap();
    let (head, _) = last.split_once("\n\n").unwrap();
    assert!(!head.lines().any(|l| l.starts_with("Bcc:")), "{head}");
    assert!(!last.contains("RCPT TO:<mallory"), "{last}");
}

#[tokio::test]
async fn refused_is_never_busy_and_down_are_later() {
    let refusing = MailServer::answering("550 no such mailbox").smtp();
    let error = refusing.send(&message("x")).await.unwrap_err();
    assert!(matches!(error, SendError::Never { .. }), "{error:?}");
    let busy = MailServer::answering("451 try again").smtp();
    let error = busy.send(&message("x")).await.unwrap_err();
    assert!(matches!(error, SendError::Later { .. }), "{error:?}");

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = SmtpConfig { port: nobody, ..MailServer::answering("250 ok").config() };
    let error = config.build().unwrap().send(&message("x")).await.unwrap_err();
    assert!(matches!(error, SendError::Later { .. }), "{error:?}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let config = SmtpConfig { port, ..MailServer::answering("250 ok").config() };
    let error = config.build().unwrap().send(&message("x")).await.unwrap_err();
    assert!(matches!(error, SendError::Later { .. }), "{error:?}");
}

#[tokio::test]
async fn a_letter_goes_to_its_person_alone() {
    let server = MailServer::answering("250 ok");
    let letter = Letter {
        to: "ada".to_owned(),
        title: "Raise the limit on api".to_owned(),
        plan: vec!["raise: http".to_owned()],
        approve: "http://desk.example/answer/1".to_owned(),
        reject: "http://desk.example/answer/2".to_owned(),
    };
    server.smtp().deliver(&letter).await.unwrap();
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].matches("RCPT TO:").count(), 1);
    assert!(mails[0].contains("RCPT TO:<ada@example.org>"));
    assert!(mails[0].contains("http://desk.example/answer/1"));
    let stranger = Letter { to: "mallory".to_owned(), ..letter };
    assert!(matches!(server.smtp().deliver(&stranger).await, Err(SendError::Never { .. })));
}
