//! The EnSQL stream: a query's answer goes out as it is found, many gRPC frames a chunk.
//!
//! Events that are given whole are sent as they are stored, with their envelope behind them, and nothing is encoded again. A
//! client that leaves ends its query: nothing is read for nobody.

use http::{Request, Response};
use hyper::body::Incoming;
use prost::Message;
use tonic::Status;

use super::{
    auth,
    body::{Disconnected, ReplyBody, ReplySender, status_reply, streaming_reply},
    error::{broker_status, decode_status},
    listen::FRAME_BYTES_MAX,
    node::{ENSQL, Node},
    stream::{MessageReader, StreamEnd},
};
use crate::{
    api::{
        self, Envelope,
        ensign::{self, parameter},
    },
    broker::{EventView, Found, Parameter, ParameterValue, Query, QueryRequest},
    model::{Mimetype, ProjectId},
};

/// The header by which a client asks to be spared what is under suspended and revoked data keys, and the trailers that say how
/// many events that were, and how many could not be decoded. Whoever does not know them notices nothing.
const SKIP_HEADER: &str = "x-ensign-skip-unreadable";
const SKIPPED_TRAILER: &str = "x-ensign-skipped-events";
pub(super) const UNDECODABLE_TRAILER: &str = "x-ensign-undecodable-events";

/// How many bytes are sent together: what one HTTP/2 frame can hold. Only a single event makes a chunk larger.
const CHUNK_BYTES: usize = FRAME_BYTES_MAX as usize;

/// Serves one EnSQL call.
pub(super) fn serve(node: &Node, request: Request<Incoming>) -> Response<ReplyBody> {
    let mut call = node.call(ENSQL);
    let (parts, body) = request.into_parts();
    let opened = || {
        let principal = auth::principal(&parts.headers, &node.identity)?;
        let reader = MessageReader::new(&parts.headers, body, node.clock.clone(), node.revoked(&principal))?;
        let project = node.broker.check_querier(&principal).map_err(|error| broker_status(&error))?;
        Ok::<_, Status>((reader, project))
    };
    let (reader, project) = match opened() {
        Ok(opened) => opened,
        Err(status) => {
            call.ends(status.code());
            return status_reply(&status);
        }
    };
    let (reply, response) = streaming_reply(call);
    let skips = parts.headers.get(SKIP_HEADER).is_some_and(|value| value.as_bytes() == b"true");
    let stream = QueryStream { node: node.clone(), project, reader, reply, chunk: Vec::new(), skips };
    node.tasks.spawn(stream.run());
    response
}

struct QueryStream {
    node: Node,
    project: ProjectId,
    reader: MessageReader,
    reply: ReplySender,
    chunk: Vec<u8>,
    /// Whether the client wants what can't be read to be left out.
    skips: bool,
}

impl QueryStream {
    async fn run(mut self) {
        let status = match self.open().await {
            Ok(Some(query)) => {
                let node = self.node.clone();
                let mut answering = Answering { node: &node, query, reply: &self.reply, chunk: &mut self.chunk };
                let mut status = tokio::select! {
                    biased;
                    end = self.reader.end(&node.draining) => end.status(),
                    () = self.reply.closed() => Status::ok(""),
                    status = answering.run() => status,
                };
                let query = &answering.query;
                if self.skips {
                    status.metadata_mut().insert(SKIPPED_TRAILER, query.skipped().into());
                }
                status.metadata_mut().insert(UNDECODABLE_TRAILER, query.undecodable().into());
                status
            }
            Ok(None) => Status::invalid_argument("the request has no message"),
            Err(end) => end.status(),
        };
        self.reply.finish(&status).await;
    }

    /// Takes the message and begins the query; nothing when there was none.
    async fn open(&mut self) -> Result<Option<Query>, StreamEnd> {
        let Some(message) = self.reader.first(&self.node.draining).await? else {
            return Ok(None);
        };
        self.node.rpc(ENSQL).received(1);
        let asked = ensign::Query::decode(&*message).map_err(|error| StreamEnd::Refused(decode_status(&error)))?;
        let query = self.node.broker.query(self.project, &request(asked, self.skips)).await;
        query.map(Some).map_err(|error| StreamEnd::Refused(broker_status(&error)))
    }
}

/// What the broker is asked. There are no duplicates yet that could be included or not.
pub(super) fn request(asked: ensign::Query, skip_unreadable: bool) -> QueryRequest {
    QueryRequest { text: asked.query, parameters: parameters(asked.params), skip_unreadable, show }
}

/// The values that come with a query.
pub(super) fn parameters(given: Vec<ensign::Parameter>) -> Vec<Parameter> {
    let parameters = given.into_iter().map(|parameter| {
        let value = match parameter.value {
            None => ParameterValue::Null,
            Some(parameter::Value::I(number)) => ParameterValue::Int(number),
            Some(parameter::Value::D(number)) => ParameterValue::Float(number),
            Some(parameter::Value::B(is)) => ParameterValue::Bool(is),
            Some(parameter::Value::Y(bytes)) => ParameterValue::Bytes(Vec::from(bytes).into()),
            Some(parameter::Value::S(text)) => ParameterValue::Text(text.into()),
        };
        Parameter { name: parameter.name, value }
    });
    parameters.collect()
}

/// Shows the broker what a record says of itself.
pub(super) fn show(record: &[u8], see: &mut dyn FnMut(&EventView<'_>)) -> bool {
    let seen = api::view_record(record, |event| {
        see(&EventView {
            key: event.key,
            data: event.data,
            mimetype: Mimetype(event.mimetype),
            created: event.created,
            type_name: event.type_name,
            type_version: event.type_version,
            metadata: &|name| event.metadata(name),
        });
    });
    seen.is_some()
}

/// Sends what a query finds.
struct Answering<'a> {
    node: &'a Node,
    query: Query,
    reply: &'a ReplySender,
    chunk: &'a mut Vec<u8>,
}

impl Answering<'_> {
    async fn run(&mut self) -> Status {
        loop {
            let found = match self.query.next().await {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(error) => {
                    // What was found before the failure is sent before it is told.
                    self.send().await.unwrap_or(());
                    return broker_status(&error);
                }
            };
            if self.write(&found).await == Err(Disconnected) {
                return Status::ok("");
            }
        }
        // A client that is gone needs neither the rest nor the status.
        self.send().await.unwrap_or(());
        Status::ok("")
    }

    /// Writes a part of the answer into chunks, and sends all of it: what is found is not held back.
    async fn write(&mut self, found: &Found) -> Result<(), Disconnected> {
        let topic = self.query.topic();
        let mut sent = 0;
        match found {
            Found::Events(selection) => {
                for event in selection.events() {
                    let envelope = Envelope {
                        id: event.rlid,
                        topic,
                        offset: event.offset,
                        epoch: event.run.epoch,
                        committed: event.committed(),
                        publisher: &event.run.publisher,
                    };
                    let start = self.chunk.len();
                    api::write_wrapper_frame(self.chunk, event.record, &envelope);
                    sent += 1;
                    self.spill(start).await?;
                }
            }
            Found::Rows(rows) => {
                for (id, row) in rows.iter() {
                    let start = self.chunk.len();
                    api::write_row_frame(self.chunk, row, id, topic, rows.created);
                    sent += 1;
                    self.spill(start).await?;
                }
            }
        }
        self.node.rpc(ENSQL).sent(sent);
        self.send().await
    }

    /// Sends what lies before the last event when the chunk has grown too long with it.
    async fn spill(&mut self, start: usize) -> Result<(), Disconnected> {
        if self.chunk.len() > CHUNK_BYTES && start > 0 {
            let mut next = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
            next.extend_from_slice(&self.chunk[start..]);
            self.chunk.truncate(start);
            self.reply.send(std::mem::replace(self.chunk, next)).await?;
        }
        if self.chunk.len() >= CHUNK_BYTES { self.send().await } else { Ok(()) }
    }

    async fn send(&mut self) -> Result<(), Disconnected> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(self.chunk.len().min(CHUNK_BYTES + CHUNK_BYTES / 8));
        self.reply.send(std::mem::replace(self.chunk, next)).await
    }
}
