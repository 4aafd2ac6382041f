package import NeedModel
package import SyncCore

// The messages as the programs handle them. `MessageCoding.swift` turns them into the protobuf of
// `protocol/waystation.proto`, where every field is explained.

/// What a device sends; everything but `groups` is fresh at each try.
package struct SyncRequest: Hashable, Sendable {
    package var attempt: UInt32
    package var replica: ReplicaID
    /// The next counter that the device will give out.
    package var nextCounter: UInt64
    package var cursor: Position
    /// The id of the ``NeedModel/Scope`` held at the cursor, 0 for none.
    package var scope: UInt64
    package var clocks: ClockReading
    package var resume: [UInt8]
    package var pageBytes: Int
    /// Consecutive groups, oldest first.
    package var groups: [ChangeGroup]
    /// Of all that the replica wrote below the first group; without one, below `nextCounter`.
    /// `nil` when nothing depends on it.
    package var chain: HashChain?
    package var ancestors: [Ancestor]
    package var gap: Gap?
    /// After ``SyncAnswer/line``: what the device brings back.
    package var recovery: Recovery?

    /// Counters of commands that were damaged on the device before the hub had them.
    package struct Gap: Hashable, Sendable {
        /// From ``Outcomes/expectedCounter`` to the next one that is held.
        package var counters: Range<UInt64>
        /// Of all below it.
        package var chain: HashChain

        package init(counters: Range<UInt64>, chain: HashChain) {
            self.counters = counters
            self.chain = chain
        }
    }

    /// What a device holds of a part that the hub has lost.
    package struct Recovery: Hashable, Sendable {
        /// The newest ``SyncAnswer/recovered`` in this recovery.
        package var confirmed: Position
        /// Where the device's complete pulls ended, one position a term, ascending.
        package var reached: [Position]
        /// Fields with all of their live versions; empty when all was brought.
        package var records: [PageRecord]

        package init(confirmed: Position, reached: [Position], records: [PageRecord]) {
            self.confirmed = confirmed
            self.reached = reached
            self.records = records
        }
    }
    package var audit: AuditRequest?

    package init(
        attempt: UInt32, replica: ReplicaID, nextCounter: UInt64, cursor: Position,
        scope: UInt64, clocks: ClockReading, resume: [UInt8], pageBytes: Int,
        groups: [ChangeGroup], chain: HashChain?, ancestors: [Ancestor], gap: Gap? = nil,
        recovery: Recovery? = nil, audit: AuditRequest? = nil
    ) {
        self.attempt = attempt
        self.replica = replica
        self.nextCounter = nextCounter
        self.cursor = cursor
        self.scope = scope
        self.clocks = clocks
        self.resume = resume
        self.pageBytes = pageBytes
        self.groups = groups
        self.chain = chain
        self.ancestors = ancestors
        self.gap = gap
        self.recovery = recovery
        self.audit = audit
    }
}

/// Some of the records that a device may hold: the smaller a part whose digests differ, the fewer
/// records can be what differs.
///
/// - SeeAlso: `protocol/SPEC.md` §9.
package struct AuditPart: Hashable, Sendable {
    /// The index in the scope, in its order; `nil` for the scope itself.
    package var bucket: Int?
    /// The first bytes of ``SyncCore/BucketDigest/hash(of:)``, at most
    /// ``SyncCore/Limits/auditPrefixBytesMax``.
    package var prefix: [UInt8]

    package init(bucket: Int?, prefix: [UInt8] = []) {
        self.bucket = bucket
        self.prefix = prefix
    }

    package static let scope = AuditPart(bucket: nil)
}

/// What a device wants to know, or to be sent again, because it holds something else than the hub.
package struct AuditRequest: Hashable, Sendable {
    /// At most ``SyncCore/Limits/auditPartsMax``.
    package var parts: [AuditPart]
    /// At most ``SyncCore/Limits/refetchedRecordsMax``.
    package var refetch: [RecordID]

    package init(parts: [AuditPart] = [], refetch: [RecordID] = []) {
        self.parts = parts
        self.refetch = refetch
    }
}

/// What the hub has in a part, as of its page's cursor.
package struct AuditFinding: Hashable, Sendable {
    package var part: AuditPart
    package var content: Content

    package enum Content: Hashable, Sendable {
        /// Of the smaller parts: of each bucket, or by the next byte of the hash.
        case digests([UInt64])
        /// All records, each with its digest.
        case records([Record])
    }

    package struct Record: Hashable, Sendable {
        package var id: RecordID
        package var digest: UInt64

        package init(id: RecordID, digest: UInt64) {
            self.id = id
            self.digest = digest
        }
    }

    package init(part: AuditPart, content: Content) {
        self.part = part
        self.content = content
    }
}

package struct SyncAnswer: Hashable, Sendable {
    package var attempt: UInt32
    package var hubMilliseconds: Int64
    /// What became of the request's groups; absent when there were none and all is well.
    package var outcomes: Outcomes?
    package var page: Page?
    package var assignment: Assignment?
    /// The hub's ``NeedModel/SchemaLevel``.
    package var schema: UInt32
    /// The newest part of the hub's line of terms, oldest first, when the request's cursor is not
    /// on it; empty otherwise.
    package var line: [TermLine.Entry]
    /// In a recovery: the hub's head. Beside a page: everything comes anew.
    package var recovered: Position?

    package init(
        attempt: UInt32, hubMilliseconds: Int64, outcomes: Outcomes? = nil, page: Page? = nil,
        assignment: Assignment? = nil, schema: UInt32 = 0, line: [TermLine.Entry] = [],
        recovered: Position? = nil
    ) {
        self.attempt = attempt
        self.hubMilliseconds = hubMilliseconds
        self.outcomes = outcomes
        self.page = page
        self.assignment = assignment
        self.schema = schema
        self.line = line
        self.recovered = recovered
    }
}

package struct Outcomes: Hashable, Sendable {
    /// Every change below this counter has its outcome: applied unless listed here.
    package var settledCounter: UInt64
    /// The first sequence that this request was given; 0 when it was given none.
    package var firstSequence: UInt64
    /// By the group's first counter: the fields where another version stayed the winner, or whose
    /// answer is not to the current order.
    package var superseded: [Superseded]
    package var refusals: [Refusal]
    /// Go on as a new replica from this counter.
    package var forkCounter: UInt64?
    /// The hub awaits this counter.
    package var expectedCounter: UInt64?

    package struct Superseded: Hashable, Sendable {
        package var firstCounter: UInt64
        package var fields: [UInt32]

        package init(firstCounter: UInt64, fields: [UInt32]) {
            self.firstCounter = firstCounter
            self.fields = fields
        }
    }

    package struct Refusal: Hashable, Sendable {
        package var firstCounter: UInt64
        /// A ``NeedModel/RejectionCode``, perhaps one that this program does not know.
        package var code: UInt32
        package var field: UInt32
        package var reason: String

        package init(firstCounter: UInt64, code: UInt32, field: UInt32, reason: String) {
            self.firstCounter = firstCounter
            self.code = code
            self.field = field
            self.reason = reason
        }
    }

    package init(
        settledCounter: UInt64, firstSequence: UInt64 = 0, superseded: [Superseded] = [],
        refusals: [Refusal] = [], forkCounter: UInt64? = nil, expectedCounter: UInt64? = nil
    ) {
        self.settledCounter = settledCounter
        self.firstSequence = firstSequence
        self.superseded = superseded
        self.refusals = refusals
        self.forkCounter = forkCounter
        self.expectedCounter = expectedCounter
    }
}

/// A part of the feed; staged, and shown only when the last part is there.
package struct Page: Hashable, Sendable {
    package var restart: Bool
    /// On the last page: the new cursor.
    package var cursor: Position?
    /// On the other pages: to be sent back unchanged.
    package var resume: [UInt8]
    package var records: [PageRecord]
    package var departed: [RecordID]
    package var writers: [Writer]
    /// On the last page of a pull that brought something: the sum of the digests of the buckets of
    /// the device's scope, as of the cursor.
    package var scopeDigest: UInt64?
    /// On the last page only, as of the cursor.
    package var findings: [AuditFinding]

    package struct Writer: Hashable, Sendable {
        package var replica: ReplicaID
        package var name: String

        package init(replica: ReplicaID, name: String) {
            self.replica = replica
            self.name = name
        }
    }

    package init(
        restart: Bool = false, cursor: Position? = nil, resume: [UInt8] = [],
        records: [PageRecord] = [], departed: [RecordID] = [], writers: [Writer] = [],
        scopeDigest: UInt64? = nil, findings: [AuditFinding] = []
    ) {
        self.restart = restart
        self.cursor = cursor
        self.resume = resume
        self.records = records
        self.departed = departed
        self.writers = writers
        self.scopeDigest = scopeDigest
        self.findings = findings
    }
}

/// The fields of one record that changed since the cursor, each with all of its live versions.
package struct PageRecord: Hashable, Sendable {
    package var id: RecordID
    /// A ``NeedModel/Kind``, perhaps one that this program does not know.
    package var kind: UInt32
    /// For a record that is sent whole (fields that are not listed are gone), the stamp of its
    /// creation in milliseconds; `nil` when only the changed fields are sent.
    package var createdMilliseconds: Int64?
    /// See ``SyncCore/Tombstone``.
    package var contested: [UInt32]
    /// In which of the device's buckets it lies.
    package var places: HeldPlaces
    /// The live versions of the fields that are listed: fields ascending, newest stamp first.
    package var versions: [FieldVersion]

    package struct FieldVersion: Hashable, Sendable {
        package var field: UInt32
        package var value: Value
        package var stamp: Stamp
        package var sequence: UInt64

        package init(field: UInt32, value: Value, stamp: Stamp, sequence: UInt64) {
            self.field = field
            self.value = value
            self.stamp = stamp
            self.sequence = sequence
        }
    }

    package struct Field: Hashable, Sendable {
        package var field: UInt32
        /// Newest stamp first; never empty.
        package var versions: [Version]

        package init(field: UInt32, versions: [Version]) {
            self.field = field
            self.versions = versions
        }
    }

    /// A live version as a device sees it: what its writer had seen stays at the hub.
    package struct Version: Hashable, Sendable {
        package var value: Value
        package var stamp: Stamp
        package var sequence: UInt64

        package init(value: Value, stamp: Stamp, sequence: UInt64) {
            self.value = value
            self.stamp = stamp
            self.sequence = sequence
        }
    }

    package enum Value: Hashable, Sendable {
        case cleared
        case bytes([UInt8])
        /// The value that the device itself sent, in this very request, under this version's dot.
        case asSent
    }

    package init(
        id: RecordID, kind: UInt32, createdMilliseconds: Int64?, contested: [UInt32] = [],
        places: HeldPlaces, versions: [FieldVersion]
    ) {
        self.id = id
        self.kind = kind
        self.createdMilliseconds = createdMilliseconds
        self.contested = contested
        self.places = places
        self.versions = versions
    }

    package init(
        id: RecordID, kind: UInt32, createdMilliseconds: Int64?, contested: [UInt32] = [],
        places: HeldPlaces, fields: [Field]
    ) {
        self.init(
            id: id, kind: kind, createdMilliseconds: createdMilliseconds, contested: contested,
            places: places, versions: [])
        self.fields = fields
    }

    /// ``versions`` by field, for whoever looks at few records.
    package var fields: [Field] {
        get {
            var fields: [Field] = []
            for entry in versions {
                let version = Version(
                    value: entry.value, stamp: entry.stamp, sequence: entry.sequence)
                if fields.last?.field == entry.field {
                    fields[fields.count - 1].versions.append(version)
                } else {
                    fields.append(Field(field: entry.field, versions: [version]))
                }
            }
            return fields
        }
        set {
            versions = newValue.flatMap { entry in
                entry.versions.map {
                    FieldVersion(
                        field: entry.field, value: $0.value, stamp: $0.stamp,
                        sequence: $0.sequence)
                }
            }
        }
    }
}

/// Who a device is and what it holds.
package struct Assignment: Hashable, Sendable {
    package var device: Int64
    package var deviceName: String
    package var role: Role
    /// The territory of a worker or an office; empty for a team.
    package var territory: String
    /// The team's code; empty for others.
    package var team: String
    package var banner: String
    /// The banner's distance from UTC.
    package var offsetMinutes: Int
    package var scope: Scope

    package init(
        device: Int64, deviceName: String, role: Role, territory: String, team: String,
        banner: String, offsetMinutes: Int, scope: Scope
    ) {
        self.device = device
        self.deviceName = deviceName
        self.role = role
        self.territory = territory
        self.team = team
        self.banner = banner
        self.offsetMinutes = offsetMinutes
        self.scope = scope
    }
}

package struct EnrollRequest: Hashable, Sendable {
    package var code: String
    /// The journal's replica, `.none` for a new journal.
    package var replica: ReplicaID

    package init(code: String, replica: ReplicaID) {
        self.code = code
        self.replica = replica
    }
}

package struct EnrollAnswer: Hashable, Sendable {
    package var token: String
    package var assignment: Assignment
    /// The replica belongs to another device: go on as a new one, from this counter.
    package var forkCounter: UInt64?

    package init(token: String, assignment: Assignment, forkCounter: UInt64? = nil) {
        self.token = token
        self.assignment = assignment
        self.forkCounter = forkCounter
    }
}

/// One admitted change of a record, with the full clock.
package struct HistoryEntry: Hashable, Sendable {
    package var field: UInt32
    package var value: [UInt8]?
    package var stamp: Stamp
    package var sequence: UInt64
    package var writer: String
    package var clock: VectorClock
    package var isLive: Bool
    package var isWinner: Bool
    /// The device's clock could not be checked when this was written.
    package var isTimeUncertain: Bool

    package init(
        field: UInt32, value: [UInt8]?, stamp: Stamp, sequence: UInt64, writer: String,
        clock: VectorClock, isLive: Bool, isWinner: Bool, isTimeUncertain: Bool
    ) {
        self.field = field
        self.value = value
        self.stamp = stamp
        self.sequence = sequence
        self.writer = writer
        self.clock = clock
        self.isLive = isLive
        self.isWinner = isWinner
        self.isTimeUncertain = isTimeUncertain
    }
}
