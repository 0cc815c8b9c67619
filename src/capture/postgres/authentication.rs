//! Proving who we are: clear text, md5, SCRAM-SHA-256 with and without channel binding; a client
//! certificate is proven by TLS itself.
//!
//! Source: PostgreSQL 18, "Message Flow", "SASL Authentication".

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl;
use postgres_protocol::message::frontend;

use crate::capture::postgres::SourceError;
use crate::capture::postgres::connect::Refusal;
use crate::capture::postgres::connect::Refused;
use crate::capture::postgres::connection::Connection;
use crate::capture::postgres::require_auth::Method;
use crate::capture::postgres::settings::ChannelBinding;
use crate::capture::postgres::settings::SourceSettings;
use crate::capture::postgres::tls;
use crate::capture::wire::BackendMessage;

const DURING: &str = "authenticating";
const SCRAM: &str = "SCRAM-SHA-256";
const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// What the server asks for, copied out of its message.
enum Request {
    Done,
    Cleartext,
    Md5([u8; 4]),
    Sasl(Vec<String>),
}

impl Request {
    fn method(&self) -> Method {
        match self {
            Request::Done => Method::None,
            Request::Cleartext => Method::Password,
            Request::Md5(_) => Method::Md5,
            Request::Sasl(_) => Method::Scram,
        }
    }
}

/// Answers the server's requests until it is satisfied.
pub(super) fn authenticate(
    connection: &mut Connection,
    refused: Refused<'_>,
) -> Result<(), Refusal> {
    let settings = refused.settings;
    let mut proven = false;
    let mut asked = false;
    loop {
        let request = request(connection, refused)?;
        let method = request.method();
        if !(settings.require_auth.allows(method) || (asked && method == Method::None)) {
            let reason = format!("the server asks for {method}, and require_auth forbids it");
            return Err(refuse(settings, &reason).into());
        }
        asked = true;
        match request {
            Request::Done if settings.channel_binding == ChannelBinding::Require && !proven => {
                return Err(refuse(
                    settings,
                    "channel_binding=require, but the server did not ask for SCRAM with it",
                )
                .into());
            }
            Request::Done => return Ok(()),
            Request::Cleartext => {
                let password = password(connection, settings)?;
                send_password(connection, password.as_bytes())?;
            }
            Request::Md5(salt) => {
                let password = password(connection, settings)?;
                let hash = md5_hash(settings.user.as_bytes(), password.as_bytes(), salt);
                send_password(connection, hash.as_bytes())?;
            }
            Request::Sasl(mechanisms) => proven = scram(connection, refused, &mechanisms)?,
        }
    }
}

fn request(connection: &mut Connection, refused: Refused<'_>) -> Result<Request, Refusal> {
    let host = connection.host().clone();
    loop {
        return match connection.message(DURING)? {
            BackendMessage::AuthenticationOk => Ok(Request::Done),
            BackendMessage::AuthenticationCleartextPassword => Ok(Request::Cleartext),
            BackendMessage::AuthenticationMd5Password(salt) => Ok(Request::Md5(salt)),
            BackendMessage::AuthenticationSasl(mechanisms) => {
                Ok(Request::Sasl(mechanisms.into_iter().map(str::to_owned).collect()))
            }
            BackendMessage::AuthenticationOther(method) => Err(refuse(
                refused.settings,
                &format!(
                    "the server asks for authentication method {method} (GSSAPI, SSPI or older)"
                ),
            )
            .into()),
            BackendMessage::ErrorResponse(error) => Err(refused.by(error, &host)),
            _ => continue,
        };
    }
}

fn refuse(settings: &SourceSettings, reason: &str) -> SourceError {
    SourceError::permission(
        format!("role \"{}\" cannot be authenticated: {reason}", settings.user),
        "choose scram-sha-256, md5, password or cert for it in the server's pg_hba.conf",
    )
}

fn password(connection: &Connection, settings: &SourceSettings) -> Result<String, SourceError> {
    match connection.host().password(&settings.database, &settings.user) {
        Some(password) => Ok(password.reveal().to_owned()),
        None => Err(SourceError::permission(
            format!(
                "PostgreSQL at {} asks for the password of role \"{}\", and none is given",
                connection.host(),
                settings.user
            ),
            "give it in PGPASSWORD, ~/.pgpass (only you may read it: chmod 600) or \
             database.password",
        )),
    }
}

fn send_password(connection: &mut Connection, password: &[u8]) -> Result<(), SourceError> {
    let mut message = BytesMut::new();
    frontend::password_message(password, &mut message)
        .map_err(|error| super::connection::closed(DURING, &error))?;
    connection.send(&message, DURING)
}

/// Gives whether the exchange was bound to the TLS connection.
fn scram(
    connection: &mut Connection,
    refused: Refused<'_>,
    mechanisms: &[String],
) -> Result<bool, Refusal> {
    let settings = refused.settings;
    let offered = |name: &str| mechanisms.iter().any(|mechanism| mechanism == name);
    let end_point = connection.server_certificate().and_then(tls::server_end_point);
    let bind = settings.channel_binding != ChannelBinding::Disable;
    let (mechanism, binding, bound) = match end_point {
        Some(hash) if bind && offered(SCRAM_PLUS) => {
            (SCRAM_PLUS, sasl::ChannelBinding::tls_server_end_point(hash), true)
        }
        _ if settings.channel_binding == ChannelBinding::Require => {
            let reason = "channel_binding=require, but server or connection do not allow it";
            return Err(refuse(settings, reason).into());
        }
        Some(_) if bind => (SCRAM, sasl::ChannelBinding::unrequested(), false),
        _ => (SCRAM, sasl::ChannelBinding::unsupported(), false),
    };
    if !offered(mechanism) {
        let reason = format!("the server offers {}", mechanisms.join(", "));
        return Err(refuse(settings, &reason).into());
    }
    let password = password(connection, settings)?;
    let mut scram = sasl::ScramSha256::new(password.as_bytes(), binding);
    let mut message = BytesMut::new();
    frontend::sasl_initial_response(mechanism, scram.message(), &mut message)
        .map_err(|error| super::connection::closed(DURING, &error))?;
    connection.send(&message, DURING)?;
    let challenge = sasl_answer(connection, refused)?;
    scram.update(&challenge).map_err(|error| scram_failed(settings, &error))?;
    message.clear();
    frontend::sasl_response(scram.message(), &mut message)
        .map_err(|error| super::connection::closed(DURING, &error))?;
    connection.send(&message, DURING)?;
    let proof = sasl_answer(connection, refused)?;
    scram.finish(&proof).map_err(|error| scram_failed(settings, &error))?;
    Ok(bound)
}

fn scram_failed(settings: &SourceSettings, error: &std::io::Error) -> SourceError {
    SourceError::permission(
        format!("SCRAM with role \"{}\" failed: {error}", settings.user),
        "check the password; a server with scram_iterations above 100000 is refused",
    )
}

fn sasl_answer(connection: &mut Connection, refused: Refused<'_>) -> Result<Vec<u8>, Refusal> {
    let host = connection.host().clone();
    loop {
        match connection.message(DURING)? {
            BackendMessage::AuthenticationSaslContinue(data)
            | BackendMessage::AuthenticationSaslFinal(data) => return Ok(data.to_vec()),
            BackendMessage::ErrorResponse(error) => {
                return Err(refused.by(error, &host));
            }
            _ => {}
        }
    }
}
