//! Every limit of the product, in one place, with the relations that must hold between them.

/// The largest encoded `Event` that is stored, in bytes; a larger one is nacked (5 MiB and some headroom, as the Ensign API has it).
pub const EVENT_BYTES_MAX: usize = 5_243_000;

/// What a wrapper and the messages around it may add to an event on its way in, in bytes.
pub const WRAPPER_BYTES_MAX: usize = 64 * 1024;

/// The largest gRPC message that is read from a stream before the stream is refused, in bytes. It leaves room for an
/// event that is too large to store to be nacked while its stream lives.
pub const MESSAGE_BYTES_MAX: usize = 6 * 1024 * 1024;

/// The largest message that a published SDK reads unless it is told otherwise, in bytes.
pub const SDK_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The largest request body of the REST API, in bytes.
pub const REST_BODY_BYTES_MAX: usize = 64 * 1024;

/// The longest name of an organization, a tenant, a project or a key, in characters.
pub const NAME_CHARS_MAX: usize = 256;

/// The longest description of a project, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 2_000;

/// The longest name of a topic, in bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 512;

/// How many items a page of a list has when the client does not say.
pub const PAGE_SIZE_DEFAULT: usize = 100;

/// The most items on one page of a list, whatever the client asks for.
pub const PAGE_SIZE_MAX: usize = 5_000;

/// The longest topic message that can be created, in bytes.
pub const TOPIC_BYTES_MAX: usize = 256 * 1024;

/// A page of topics ends once it has this many bytes, so that it stays below what the SDKs read.
pub const PAGE_BYTES_TARGET: usize = 2 * 1024 * 1024;

/// How much a block may hold before it is sealed, in bytes of encoded records; one record alone may be larger.
pub const BLOCK_BYTES_TARGET: usize = 256 * 1024;

/// A block that holds less is small: compaction joins it to others like it, up to the target.
pub const BLOCK_BYTES_SMALL: usize = 64 * 1024;

/// The most bytes a block may hold once decoded; what claims more is damage.
pub const BLOCK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The size at which the active segment of the journal is sealed, in bytes.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// How many bytes of events may be accepted and not yet committed, over all publishers.
pub const INFLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;

const _: () = assert!(EVENT_BYTES_MAX + WRAPPER_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX + BLOCK_BYTES_TARGET < BLOCK_BYTES_MAX);
const _: () = assert!(4 * BLOCK_BYTES_SMALL <= BLOCK_BYTES_TARGET);
const _: () = assert!((BLOCK_BYTES_MAX as u64) < SEGMENT_BYTES);
const _: () = assert!(INFLIGHT_BYTES_MAX > 2 * MESSAGE_BYTES_MAX);
const _: () = assert!(PAGE_BYTES_TARGET + 2 * TOPIC_BYTES_MAX < SDK_MESSAGE_BYTES_MAX);
