import NeedModel
import SyncCore
import WireFormat

/// Who writes: an enrolled device through its replica, or the hub itself through its term.
struct Writer {
    /// Stored already.
    var replica: ReplicaRow
    /// `nil` for the hub, which may do everything.
    var device: Device?
    /// The device's buckets as of now.
    var scope: Scope
    /// The replicas whose records it may create: its own, and those that it says it descends from.
    /// Wider than the ancestors that count for covering, since a journal that was enrolled anew as
    /// another device still holds records that it named before.
    var namingReplicas: Set<ReplicaID>
    var clocks: ClockReading
}

/// Admits the groups of one writer into the ledger, inside one transaction.
///
/// Each group is judged whole, before anything of it is applied; then its changes get their
/// sequences and stamps and are merged into the live versions of their records. ``finish()``
/// writes what was touched, once a record, and appends the batch to the feed.
///
/// - SeeAlso: `protocol/SPEC.md` §4 and §6.
final class Admitter {
    let storage: any LedgerStorage
    let terms: TermLine
    let now: Int64
    let writer: Writer
    /// The writer's row, as this batch moves it on.
    private var replica: ReplicaRow
    private let headBefore: UInt64
    var head: UInt64
    /// The newest stamp of the whole ledger so far.
    var newestStamp: Int64?

    var records: [RecordID: TouchedRecord] = [:]
    private var touchOrder: [RecordID] = []
    private var groups: [ChangeGroup] = []
    /// What a device brought back; then there are no groups.
    var brought: [BroughtChange] = []
    lazy var earlierBrought = BroughtChanges(storage: storage)
    /// Of the replicas whose changes are brought back.
    var storedGroups: [ReplicaID: StoredGroups] = [:]
    private(set) var outcomes: [StoredOutcome] = []
    private var stampsAtBase: [UInt64: Int64?] = [:]
    private var offsets: [UInt64: Int64?] = [:]
    /// The device's scope at a base; the present one where none was noted.
    private var scopesAtBase: [UInt64: Scope] = [:]
    private var knownGrids: [String: Bool] = [:]
    private var knownCategories: [String: Bool] = [:]
    private lazy var hasRefusedCreations: Result<Bool, any Error> = Result {
        try storage.hasRefusedCreations()
    }
    private var movesByKey: [Int64: [(sequence: UInt64, before: Placement)]] = [:]
    /// The keys of the records that this batch creates.
    private var newKeys: Set<Int64> = []
    /// Whether a need got its place in its recorder's bucket, or a writer a name.
    private var hasFoundRecorder = false
    /// The notes that this batch touched, by the key of their need.
    private var touchedNotes: [Int64: [RecordID]] = [:]

    struct TouchedRecord {
        var record: StoredRecord
        var isNew: Bool
        var placementBefore: Placement
        var digestBefore: UInt64
        var isChanged = false
        /// As the batch found it.
        var wasWithdrawn = false
        /// Whether a version went without another in its place, which only the whole record tells.
        var hasLessThanBefore = false
    }

    init(
        storage: any LedgerStorage, terms: TermLine, head: UInt64, now: Int64, writer: Writer
    ) throws {
        self.storage = storage
        self.terms = terms
        self.now = now
        self.writer = writer
        replica = writer.replica
        self.head = head
        headBefore = head
        newestStamp = try storage.newestStamp(atOrBelow: head)
    }

    /// The sequence, and for the hub itself the counter, of the next admitted change.
    var nextSequence: UInt64 { head + 1 }

    /// The needs that carry no order and that this batch created, or brought back from a
    /// withdrawal that may have been there before they could be routed.
    var needsToRoute: [StoredRecord] {
        touchOrder.compactMap { id in
            guard let touched = records[id], touched.record.kind == Kind.need.rawValue,
                touched.isNew || touched.wasWithdrawn,
                touched.record.progress.status == .recorded
            else { return nil }
            return touched.record
        }
    }

    func admit(_ group: ChangeGroup) throws {
        groups.append(group)
        if let rejection = try fault(in: group) {
            if group.createdKind != nil, try load(group.record) == nil {
                try storage.setCreationRefused(true, group.record)
                hasRefusedCreations = .success(true)
            }
            outcomes.append(StoredOutcome(outcome: rejection))
            return
        }
        try apply(group)
    }

    // MARK: Judging

    private func rejected(
        _ code: RejectionCode, field: UInt32 = 0, _ reason: String
    ) -> GroupOutcome {
        .rejected(code: code.rawValue, field: field, reason: reason)
    }

    private func fault(in group: ChangeGroup) throws -> GroupOutcome? {
        let stored = try load(group.record)
        let kind: Kind
        if let created = group.createdKind {
            guard let known = Kind(rawValue: created) else {
                return rejected(.upgrade, "this hub does not know records of kind \(created)")
            }
            kind = known
            if let stored, try !wasBroughtBack(stored) {
                return rejected(.recordExists, "the record exists")
            }
            let mayName =
                group.record.isWellFormed
                && writer.namingReplicas.contains(group.record.replica)
            if !mayName { return rejected(.recordExists, "the id is not this writer's to give") }
        } else if let stored {
            guard let known = Kind(rawValue: stored.kind) else {
                return rejected(.upgrade, "this hub does not know the record's kind")
            }
            kind = known
        } else if try storage.isCreationRefused(group.record) {
            return rejected(.depends, "the record's creation was refused")
        } else {
            return rejected(.unknownRecord, "there is no such record")
        }
        if let device = writer.device {
            if group.createdKind != nil, !device.role.mayCreate(kind) {
                return rejected(.role, "this role may not record that")
            }
            for change in group.changes
            where !device.role.mayWrite(kind, field: change.field) {
                return rejected(.role, field: change.field, "this role may not write that")
            }
        }
        if let invalid = faultInValues(of: group, kind: kind) { return invalid }
        // Admitted before the restore, and whole: what the hub has lost beside it (a scope, a team,
        // an answer) is no reason to refuse it now.
        if let stored, try cameBack(group, of: stored) { return nil }
        let size = (stored?.state.size ?? 0) + group.changes.reduce(0) { $0 + $1.size }
        if size > LedgerLimits.recordBytesMax {
            return rejected(.invalid, "the record is full")
        }
        if let unknown = try faultInReferences(of: group, kind: kind, stored: stored) {
            return unknown
        }
        if writer.device != nil, try !isInScope(group, kind: kind, stored: stored) {
            return rejected(.scope, "the record is not in this device's territory or team")
        }
        return nil
    }

    /// Whether somebody who held a change of the group brought it back before its writer sent it
    /// again.
    private func cameBack(_ group: ChangeGroup, of record: StoredRecord) throws -> Bool {
        if writer.device == nil { return false }
        return try earlierBrought.of(record).contains { brought in
            let dot = brought.version.dot
            guard dot.replica == writer.replica.id, group.firstCounter <= dot.counter,
                dot.counter < group.nextCounter
            else { return false }
            let change = group.changes[Int(dot.counter - group.firstCounter)]
            return change.field == brought.field && change.value == brought.version.value
        }
    }

    /// Whether a record is only here because somebody who held it brought it back before its
    /// recorder sent it again.
    ///
    /// It stays so for ever: whether its creation came since is not kept. So a copy of the
    /// recorder's journal that creates it once more is not refused later either, and its values,
    /// which are equal, stand beside those that are there; no other writer may name the record.
    private func wasBroughtBack(_ record: StoredRecord) throws -> Bool {
        try earlierBrought.of(record).contains { $0.version.sequence == record.firstSequence }
    }

    private func faultInValues(of group: ChangeGroup, kind: Kind) -> GroupOutcome? {
        for change in group.changes {
            if let rule = FieldRule.rule(kind: kind, field: change.field),
                let fault = rule.fault(in: change.value)
            {
                return rejected(.invalid, field: change.field, fault)
            }
        }
        guard group.createdKind != nil else { return nil }
        let given = Set(group.changes.map(\.field))
        let required: [UInt32] =
            switch kind {
            case .need: NeedField.allCases.map(\.rawValue)
            case .note: NoteField.allCases.map(\.rawValue)
            case .territory, .team, .category: []
            }
        for field in required
        where !given.contains(field)
            && FieldRule.rule(kind: kind, field: field)?.isRequired == true
        {
            return rejected(.invalid, field: field, "missing")
        }
        return nil
    }

    private func faultInReferences(
        of group: ChangeGroup, kind: Kind, stored: StoredRecord?
    ) throws -> GroupOutcome? {
        for change in group.changes {
            guard let bytes = change.value else { continue }
            switch kind {
            case .note:
                guard NoteField(rawValue: change.field) == .need,
                    case .record(let need) = FieldValue(.record, bytes: bytes)
                else { continue }
                // Its place, and so who may see it, was decided when it was written.
                if let stored, stored.state[change.field].winner?.value != bytes {
                    return rejected(.invalid, field: change.field, "a note stays with its need")
                }
                if let parent = try load(need), parent.kind == Kind.need.rawValue { continue }
                return try storage.isCreationRefused(need)
                    ? rejected(.depends, field: change.field, "the need was refused")
                    : rejected(.unknownRecord, field: change.field, "there is no such need")
            case .need:
                guard let field = NeedField(rawValue: change.field) else { continue }
                if let fault = try fault(in: field, bytes: bytes, stored: stored) {
                    return fault
                }
            case .territory, .team, .category:
                continue
            }
        }
        return nil
    }

    private func fault(
        in field: NeedField, bytes: [UInt8], stored: StoredRecord?
    ) throws -> GroupOutcome? {
        switch field {
        case .grid:
            guard case .text(let code) = FieldValue(.text, bytes: bytes),
                try isGrid(code)
            else { return rejected(.unknownGrid, field: field.rawValue, "no such grid") }
        case .category:
            guard case .text(let code) = FieldValue(.text, bytes: bytes),
                try isCategory(code)
            else { return rejected(.unknownCategory, field: field.rawValue, "no such category") }
        case .dispatch:
            guard case .dispatch(let dispatch) = FieldValue(.dispatch, bytes: bytes),
                try storage.team(dispatch.team) != nil
            else { return rejected(.unknownTeam, field: field.rawValue, "no such team") }
        case .answer:
            guard let device = writer.device, device.role == .team, let stored,
                case .answer(let answer) = FieldValue(.answer, bytes: bytes),
                let current = stored.progress.dispatch, current.order == answer.order,
                current.team != device.team
            else { return nil }
            return rejected(.scope, field: field.rawValue, "the order went to another team")
        case .rating:
            // Only a grade of the current order can be told to be early: a former order may have
            // been finished on a device that is still offline.
            guard case .rating(let rating) = FieldValue(.rating, bytes: bytes),
                let progress = stored?.progress, progress.dispatch != nil
            else { return rejected(.notFinished, field: field.rawValue, "nothing was finished") }
            if progress.dispatch?.order == rating.order && progress.answer?.verdict != .finished {
                return rejected(.notFinished, field: field.rawValue, "not finished yet")
            }
        case .text, .resident, .phone, .address, .urgency, .location, .withdrawal:
            break
        }
        return nil
    }

    private func isGrid(_ code: String) throws -> Bool {
        if let known = knownGrids[code] { return known }
        let isGrid = try storage.territory(code)?.level == .grid
        knownGrids[code] = isGrid
        return isGrid
    }

    private func isCategory(_ code: String) throws -> Bool {
        if let known = knownCategories[code] { return known }
        let isCategory = try storage.isCategory(code) || !storage.hasCategories()
        knownCategories[code] = isCategory
        return isCategory
    }

    private func scope(of device: Device, at base: UInt64) throws -> Scope {
        if let known = scopesAtBase[base] { return known }
        let scope = try storage.scope(device: device.id, at: base) ?? writer.scope
        scopesAtBase[base] = scope
        return scope
    }

    /// Scope is judged as of the change's base, so late work of a former team is not refused.
    private func isInScope(
        _ group: ChangeGroup, kind: Kind, stored: StoredRecord?
    ) throws -> Bool {
        guard let device = writer.device else { return true }
        let base = terms.cut(group.base, head: headBefore)
        let scopeAtBase = try scope(of: device, at: base)
        func isHeld(_ placement: Placement) -> Bool {
            writer.scope.contains(placement) || scopeAtBase.contains(placement)
        }
        let record: StoredRecord?
        if group.createdKind == nil {
            record = stored
        } else if kind == .note {
            record = try parent(of: group)
        } else {
            return isHeld(Placement(grid: text(of: .grid, in: group)))
        }
        guard let record else { return false }
        if isHeld(record.placement) { return true }
        return try placement(of: record, at: base).map(isHeld) ?? false
    }

    /// Where a record lay when the ledger's head was `base`; `nil` when it did not exist yet.
    private func placement(of record: StoredRecord, at base: UInt64) throws -> Placement? {
        if record.firstSequence > base { return nil }
        if let move = try moves(of: record.key).first(where: { $0.sequence > base }) {
            return move.before
        }
        // Earlier groups of this very batch may have moved it.
        return records[record.id]?.placementBefore ?? record.placement
    }

    /// When a record moved, and from where, oldest first. Read once a batch, whatever its groups
    /// ask: a hostile batch may ask thousands of times.
    private func moves(of key: Int64) throws -> [(sequence: UInt64, before: Placement)] {
        if let known = movesByKey[key] { return known }
        var moves: [(sequence: UInt64, before: Placement)] = []
        for number in try storage.historyBatches(of: key) {
            guard let batch = try storage.touched(inBatch: number) else { continue }
            let touched = try TouchedRecords.decode(batch.touched) { _ in true }
            for entry in touched.entries where entry.key == key {
                if let before = entry.bucketsBefore {
                    moves.append((batch.end, Placement(before)))
                }
            }
        }
        movesByKey[key] = moves
        return moves
    }

    // MARK: Applying

    private func apply(_ group: ChangeGroup) throws {
        // All groups of a batch have seen the same of the ledger: what was before the batch.
        let clock =
            writer.device == nil
            ? ShortClock(base: head)
            : terms.clock(
                base: try storage.lostTermOnly(group.base, terms: terms, head: headBefore),
                admittedAt: headBefore + 1, ancestors: replica.ancestors)
        let base = clock.base
        let estimate = try estimate(of: group)
        let newestSeen = try newestStamp(at: base)
        let newestOwn = replica.newestStamp
        let firstSequence = head + 1

        let isCreated = records[group.record] == nil
        if isCreated {
            try create(group)
        } else if group.createdKind != nil {
            try noteRecorder(of: group.record)
        }
        guard var touched = records[group.record] else {
            preconditionFailure("a judged group's record is loaded")
        }
        let brought = try isCreated ? [] : earlierBrought.of(touched.record)
        var stamps: [Int64] = []
        var superseded: [UInt32] = []
        for (index, change) in group.changes.enumerated() {
            head += 1
            let dot = Dot(replica.id, group.firstCounter + UInt64(index))
            if let known = brought.first(where: {
                $0.version.dot == dot && $0.field == change.field
                    && $0.version.value == change.value
            }) {
                // Somebody who held it was faster than its writer.
                if touched.record.state[change.field].winner?.dot != dot {
                    superseded.append(change.field)
                }
                stamps.append(known.version.stamp.milliseconds)
                continue
            }
            var version = Version(
                value: change.value, stamp: Stamp(milliseconds: 0, dot: dot), sequence: head,
                clock: clock)
            var register = touched.record.state[change.field]
            try inheritSeen(&version, from: register)
            version.stamp.milliseconds = StampLaw.milliseconds(
                estimate: estimate.milliseconds, newestSeen: newestSeen, newestOwn: newestOwn,
                newestCovered: register.newestCovered(by: version), now: now)
            register.insert(version)
            touched.record.state[change.field] = register
            let isLate = noteLateness(of: version, change, in: &touched)
            if isLate || register.winner?.dot != dot { superseded.append(change.field) }
            stamps.append(version.stamp.milliseconds)
        }
        let newest = stamps.max()
        replica.newestStamp = max(replica.newestStamp ?? .min, newest ?? .min)
        newestStamp = max(newestStamp ?? .min, newest ?? .min)
        if isCreated {
            touched.record.createdMilliseconds = stamps[0]
            touched.record.firstSequence = firstSequence
        }
        touched.record.lastSequence = head
        touched.isChanged = true
        let placement = touched.record.placement
        place(&touched.record)
        records[group.record] = touched
        if touched.record.placement != placement { try moveNotes(on: touched) }
        outcomes.append(
            StoredOutcome(
                outcome: .applied(superseded: superseded.sorted()), sequence: firstSequence,
                basis: estimate.basis, stamps: stamps))
    }

    /// Who saw a version has seen what its writer had seen. That follows from base and counter,
    /// but for a base in a part that a restore lost, which says little of the ledger's line: so
    /// what is known of it goes on from version to version.
    func inheritSeen(_ version: inout Version, from register: Register) throws {
        for other in register.versions where version.covers(other) {
            try inherit(other.clock, into: &version)
        }
    }

    /// The same the other way round, for a version that came after what has seen it.
    ///
    /// - Returns: Whether a live version has seen it.
    func passOnSeen(of version: Version, in register: inout Register) throws -> Bool {
        var hasHeirs = false
        let versions = try register.versions.map { other in
            guard other.covers(version) else { return other }
            hasHeirs = true
            var heir = other
            try inherit(version.clock, into: &heir)
            return heir
        }
        if hasHeirs { register = Register(live: versions) }
        return hasHeirs
    }

    private func inherit(_ clock: ShortClock, into version: inout Version) throws {
        version.clock.base = max(version.clock.base, clock.base)
        if clock.ancestors.isEmpty { return }
        // Terms, and replicas that never wrote here; all others are told by the base.
        let lost = try clock.ancestors.filter {
            guard let row = try storage.replica($0.replica) else { return true }
            return row.device == nil || row.nextCounter == 1
        }
        if lost.isEmpty { return }
        let seen = VectorClock(version.clock.ancestors + lost).entries
        // Fewer err toward a conflict.
        if seen.count <= Limits.ancestorsMax { version.clock.ancestors = seen }
    }

    /// Keeps the register of late answers up to date.
    ///
    /// - Returns: Whether the change is itself one: it counts for nothing, and its author is told.
    func noteLateness(
        of version: Version, _ change: Change, in touched: inout TouchedRecord
    ) -> Bool {
        guard touched.record.kind == Kind.need.rawValue,
            let field = NeedField(rawValue: change.field),
            field == .dispatch || LateAnswers.sources.contains(field)
        else { return false }
        let state = touched.record.state
        var late = state[LateAnswers.field]
        let before = late
        LateAnswers.update(&late, after: field, version: version) { state[$0.rawValue] }
        if late != before { touched.record.state[LateAnswers.field] = late }
        guard let order = LateAnswers.order(of: field, change.value) else { return false }
        return order != touched.record.progress.dispatch?.order
    }

    private func estimate(of group: ChangeGroup) throws -> WriteTimeEstimate {
        guard let device = writer.device else {
            return WriteTimeEstimate(
                written: group.written, sent: group.written, hub: now, measuredOffset: 0)
        }
        let boot = group.written.boot
        let offset: Int64?
        if let known = offsets[boot] {
            offset = known
        } else {
            offset = try storage.bootOffset(device: device.id, boot: boot)
            offsets[boot] = .some(offset)
        }
        return WriteTimeEstimate(
            written: group.written, sent: writer.clocks, hub: now, measuredOffset: offset)
    }

    private func newestStamp(at base: UInt64) throws -> Int64? {
        if base == 0 { return nil }
        if let known = stampsAtBase[base] { return known }
        let newest = try storage.newestStamp(atOrBelow: base)
        stampsAtBase[base] = .some(newest)
        return newest
    }

    private func create(_ group: ChangeGroup) throws {
        try create(
            group.record, kind: group.createdKind ?? 0, device: writer.device?.id,
            parent: group.createdKind == Kind.note.rawValue ? try parent(of: group) : nil)
    }

    func create(
        _ id: RecordID, kind: UInt32, device: Int64?, parent: StoredRecord?
    ) throws {
        if try hasRefusedCreations.get() { try storage.setCreationRefused(false, id) }
        var record = StoredRecord(
            key: try storage.newKey(for: id, reserved: newKeys), id: id, kind: kind,
            createdMilliseconds: 0, device: device, parent: nil, grid: nil, team: nil,
            firstSequence: 0, lastSequence: 0, state: RecordState())
        if let parent {
            record.parent = parent.key
            record.device = parent.device
            record.grid = parent.grid
            record.team = parent.team
        }
        newKeys.insert(record.key)
        touch(
            TouchedRecord(
                record: record, isNew: true, placementBefore: record.placement, digestBefore: 0))
    }

    /// Derives a need's place from its fields.
    func place(_ record: inout StoredRecord) {
        guard record.kind == Kind.need.rawValue else { return }
        record.grid = record.state[NeedField.grid.rawValue].winner?.value.flatMap {
            guard case .text(let code) = FieldValue(.text, bytes: $0) else { return nil }
            return code
        }
        record.team = record.progress.dispatch?.team
    }

    /// Puts a need into the bucket of the device that recorded it, which the hub may not know when
    /// somebody else brings the need back before its recorder comes.
    func noteRecorder(of id: RecordID) throws {
        guard let device = writer.device, writer.namingReplicas.contains(id.replica),
            var touched = records[id], touched.record.device == nil,
            touched.record.kind == Kind.need.rawValue
        else { return }
        touched.record.device = device.id
        touched.isChanged = true
        records[id] = touched
        hasFoundRecorder = true
        try moveNotes(on: touched)
    }

    /// Has everybody who holds something that a replica wrote and others brought back sent it anew,
    /// whole, now that it is known whose replica that is.
    func touchBrought(of replica: ReplicaID) throws {
        for number in try storage.broughtBatches() {
            guard let batch = try storage.batch(number: number) else {
                throw LedgerError.damaged("a batch that was brought back is missing")
            }
            for change in try StoredContent.decodeBrought(batch.content)
            where change.version.dot.replica == replica || change.record.replica == replica {
                guard try load(change.record) != nil else { continue }
                try noteRecorder(of: change.record)
                records[change.record]?.isChanged = true
                records[change.record]?.hasLessThanBefore = true
                hasFoundRecorder = true
            }
        }
    }

    /// Notes lie where their need lies.
    func moveNotes(on need: TouchedRecord) throws {
        if !need.isNew {
            for key in try storage.children(of: need.record.key) {
                if let note = try storage.record(key: key) { _ = try load(note.id) }
            }
        }
        for id in touchedNotes[need.record.key] ?? [] {
            records[id]?.record.device = need.record.device
            records[id]?.record.grid = need.record.grid
            records[id]?.record.team = need.record.team
            records[id]?.isChanged = true
        }
    }

    private func parent(of group: ChangeGroup) throws -> StoredRecord? {
        guard
            let bytes = group.changes.first(where: { $0.field == NoteField.need.rawValue })?.value,
            case .record(let need) = FieldValue(.record, bytes: bytes)
        else { return nil }
        return try load(need)
    }

    private func text(of field: NeedField, in group: ChangeGroup) -> String? {
        guard let bytes = group.changes.first(where: { $0.field == field.rawValue })?.value,
            case .text(let text) = FieldValue(.text, bytes: bytes)
        else { return nil }
        return text
    }

    /// The record as this batch left it so far.
    func load(_ id: RecordID) throws -> StoredRecord? {
        if let touched = records[id] { return touched.record }
        guard let record = try storage.record(id) else { return nil }
        touch(
            TouchedRecord(
                record: record, isNew: false, placementBefore: record.placement,
                digestBefore: record.digest,
                wasWithdrawn: record.kind == Kind.need.rawValue
                    && record.progress.status == .withdrawn))
        return record
    }

    private func touch(_ touched: TouchedRecord) {
        let id = touched.record.id
        records[id] = touched
        touchOrder.append(id)
        if let parent = touched.record.parent { touchedNotes[parent, default: []].append(id) }
    }

    // MARK: Finishing

    struct Finished {
        var head: UInt64
        var newestStamp: Int64?
    }

    /// Writes records, replica, batch, history and digests.
    @discardableResult
    func finish() throws -> Finished {
        if groups.isEmpty && brought.isEmpty {
            guard hasFoundRecorder else {
                return Finished(head: head, newestStamp: newestStamp)
            }
            // An event of its own, so that copies of the recorder's journal are told.
            head += 1
        }
        var entries: [TouchedRecords.Entry] = []
        var digests: [Bucket: UInt64] = [:]
        for id in touchOrder {
            guard var touched = records[id], touched.isNew || touched.isChanged else { continue }
            let before = touched.isNew ? [] : touched.placementBefore.buckets
            let after = touched.record.placement.buckets
            let moved = !touched.isNew && touched.record.placement != touched.placementBefore
            if touched.hasLessThanBefore || before.contains(where: { !after.contains($0) }) {
                touched.record.leftSequence = head
            }
            if touched.isNew {
                try storage.insertRecord(touched.record)
            } else {
                try storage.updateRecord(touched.record)
            }
            entries.append(
                TouchedRecords.Entry(
                    key: touched.record.key, isCreated: touched.isNew,
                    buckets: after, bucketsBefore: moved ? before : nil))
            let digest = touched.record.digest
            for bucket in after { digests[bucket, default: 0] &+= digest }
            for bucket in before { digests[bucket, default: 0] &-= touched.digestBefore }
        }
        for (bucket, difference) in digests.sorted(by: { $0.key < $1.key })
        where difference != 0 {
            try storage.addToDigest(difference, bucket: bucket)
        }
        // The hub's own counter is the sequence, and what is brought back comes under it.
        let firstCounter = groups.first?.firstCounter ?? headBefore + 1
        replica.nextCounter = groups.last?.nextCounter ?? head + 1
        try storage.updateReplica(replica)
        let number = try storage.appendBatch(
            BatchRow(
                firstSequence: headBefore + 1, lastSequence: head,
                replicaRow: replica.row, firstCounter: firstCounter,
                nextCounter: replica.nextCounter, receivedMilliseconds: now,
                newestStamp: newestStamp,
                content: groups.isEmpty
                    ? StoredContent.encode(brought: brought, by: writer.device?.id ?? 0)
                    : StoredContent.encode(groups),
                outcomes: StoredOutcome.encode(outcomes),
                touched: TouchedRecords(entries: entries).encoded()))
        for entry in entries {
            if !entry.isCreated { try storage.appendHistory(record: entry.key, batch: number) }
            if !brought.isEmpty { try storage.appendBrought(record: entry.key, batch: number) }
        }
        return Finished(head: head, newestStamp: newestStamp)
    }
}

extension Change {
    fileprivate var size: Int { (value?.count ?? 0) + RecordState.versionBytes }
}

extension Placement {
    /// The place that a feed entry's buckets stand for.
    init(_ buckets: [Bucket]) {
        self.init()
        for bucket in buckets {
            switch bucket {
            case .reference: isReference = true
            case .recordedBy(let id): device = id
            case .team(let code): team = code
            case .grid(let code): grid = code
            }
        }
    }
}
