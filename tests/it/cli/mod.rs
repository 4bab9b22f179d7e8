//! The binary as the person who types it meets it: whole outputs, exit codes, files.

mod bench;
mod compact;
mod dev_server;
mod durability;
mod events;
mod generated;
mod grammar;
mod history;
mod machine;
mod profiles;
mod serve;
mod tls;
mod topic_keys;
mod topics;
mod verify;
