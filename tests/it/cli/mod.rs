//! The binary as the person who types it meets it: whole outputs, exit codes, files.

mod accounts;
mod archive;
mod bench;
mod compact;
mod dev_server;
mod durability;
mod encryption;
mod events;
mod expect;
mod forward;
mod generated;
mod grammar;
mod group_histories;
mod groups;
mod history;
mod keys;
mod machine;
mod members;
mod profiles;
mod projects;
mod replay;
mod serve;
mod tls;
mod topic_keys;
mod topics;
mod verify;
