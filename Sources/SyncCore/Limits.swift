/// Every bound of the protocol, in one place, each with its unit in its name.
///
/// Both sides check them: the far side answers with a clear error, never with a cut-off value.
package enum Limits {
    /// A frame on the wire.
    package static let frameBytesMax = 1 << 20
    /// A frame's message once inflated; inflating stops there.
    package static let inflatedBytesMax = 8 << 20
    /// A request to enrol or for a history, as a frame and inflated: a code, or a record's id. Who
    /// enrols is a stranger yet.
    package static let enquiryBytesMax = 4 << 10
    /// Fields and list entries in the protobuf of one sync request, all together: what parsing it
    /// makes objects of. A full batch has 270,000 at most, a full recovery a few more.
    package static let requestEntriesMax = 1 << 19
    package static let changesPerBatchMax = 16_384
    package static let changesPerGroupMax = 64
    /// One value of one field.
    package static let valueBytesMax = 16_384
    /// Uncompressed content of one batch that a device aims at, at first and at most.
    package static let batchBytesStart = 48 << 10
    package static let batchBytesMin = 2 << 10
    package static let batchBytesMax = 2 << 20
    /// Uncompressed content of one page, at first and at most.
    package static let pageBytesStart = 64 << 10
    package static let pageBytesMin = 2 << 10
    package static let pageBytesMax = 2 << 20
    /// Round trips of one sync; more means that something is wrong.
    package static let roundTripsPerSyncMax = 10_000
    /// Transport failures in a row before a sync gives up.
    package static let transportTriesMax = 3
    package static let ancestorsMax = 64
    /// Places that a device remembers its pulls to have ended at, one a term, the newest.
    package static let reachedMax = 64
    /// Names by which one place of a lost part is known: a hub seldom opens more terms between a
    /// backup and its loss.
    package static let formerPositionsMax = 4
    /// Live versions of one field that a device brings back.
    package static let broughtVersionsPerFieldMax = 256
    /// Terms of its line that a restored hub tells, the newest.
    package static let lineTermsMax = 256
    /// Distinct boots and bases in one batch.
    package static let tableEntriesMax = 16_384
    /// Buckets of one device's scope.
    package static let bucketsPerScopeMax = 10_000
    /// Parts that one request asks about.
    package static let auditPartsMax = 8
    /// Bytes of a part's prefix: all that a hash has.
    package static let auditPrefixBytesMax = 8
    /// Records of a part that are listed; a part with more is divided.
    package static let auditListMax = 128
    /// Records that one request asks for again.
    package static let refetchedRecordsMax = 256
    /// Round trips of one sync that only look for what differs, or fetch it again.
    package static let auditRoundTripsPerSyncMax = 32
}
