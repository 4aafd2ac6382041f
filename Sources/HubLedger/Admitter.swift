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
    /// What this hub knows.
    let schema: SchemaLevel
    let writer: Writer
    /// What brought the groups; `nil` for what the hub itself writes.
    private let frame: [UInt8]?
    /// The writer's row, as this batch moves it on.
    private var replica: ReplicaRow
    let headBefore: UInt64
    var head: UInt64
    /// The newest stamp of the whole ledger so far.
    var newestStamp: Int64?

    var records: [RecordID: TouchedRecord] = [:]
    private var touchOrder: [TouchedRecord] = []
    private var groups: [ChangeGroup] = []
    /// What a device brought back; then there are no groups.
    var brought: [BroughtChange] = []
    /// The same by the record.
    var broughtNow: [RecordID: BroughtHistory] = [:]
    /// Of reference data, what it created.
    var codesBrought: Set<ReferenceCode> = []
    lazy var earlierBrought = BroughtChanges(storage: storage)
    /// Of what is brought back, what is here by itself.
    var admittedBefore: [NamedChange: AdmittedBefore] = [:]
    private(set) var outcomes: [StoredOutcome] = []
    private var stampsAtBase: [UInt64: Int64?] = [:]
    private var offsets: [UInt64: Int64?] = [:]
    /// The device's scope at a base; the present one where none was noted.
    private var scopesAtBase: [UInt64: Scope] = [:]
    private var knownGrids = KnownCodes()
    private var knownCategories = KnownCodes()
    /// Whether the device may write where the record judged last lies: most of a batch lie in one
    /// place.
    private var judgedPlace: (place: Placement, base: Position, isHeld: Bool)?
    private lazy var hasRefusedCreations: Result<Bool, any Error> = Result {
        try storage.hasRefusedCreations()
    }
    /// What changes with the same base have seen, as new records hold it.
    private var contexts: (base: Position, list: [RecordState.Context])?
    private var movesByKey: [Int64: [(sequence: UInt64, before: Placement)]] = [:]
    /// Of the replicas that stand in clocks, whether they are terms: a record that was brought back
    /// bears many clocks with the same few.
    private var knownTerms: [ReplicaID: Bool] = [:]
    /// Of needs, by their keys, whether something of them was brought back before this batch: asked
    /// for each change of their notes.
    private var needsBroughtBack: [Int64: Bool] = [:]
    /// The bases, one a term, off the ledger's line at which a scope could not be judged.
    private(set) var unjudgedBases: [Position] = []
    /// The keys of the records that this batch creates: the greatest, and all of them as soon as
    /// one comes that is no greater.
    private var greatestNewKey = Int64.min
    private var newKeys: Set<Int64>?
    /// Whether a need got its place in its recorder's bucket, or a writer a name.
    private var hasFoundRecorder = false
    /// The notes that this batch touched, by the key of their need.
    private var touchedNotes: [Int64: [RecordID]] = [:]
    /// The needs whose notes follow them when the batch ends, in the order of their first moves.
    private var movedNeeds: [TouchedRecord] = []
    /// The same by their keys.
    private var movedNeedByKey: [Int64: TouchedRecord] = [:]

    /// A record as the batch leaves it so far.
    final class TouchedRecord {
        var record: StoredRecord
        let isNew: Bool
        /// As the batch found it; of a new record, nowhere.
        let placementBefore: Placement
        let digestBefore: UInt64
        var isChanged = false
        /// As the batch found it.
        var wasWithdrawn = false
        /// Whether versions came or went that no sequence tells of, but the whole record does.
        var hasLessThanBefore = false

        init(creating record: StoredRecord) {
            self.record = record
            isNew = true
            placementBefore = Placement()
            digestBefore = 0
        }

        init(_ record: StoredRecord) {
            self.record = record
            isNew = false
            placementBefore = record.placement
            digestBefore = record.digest
            wasWithdrawn =
                record.kind == Kind.need.rawValue && record.isWithdrawn
        }
    }

    init(
        storage: any LedgerStorage, terms: TermLine, head: UInt64, now: Int64, schema: SchemaLevel,
        writer: Writer, frame: [UInt8]? = nil
    ) throws {
        self.storage = storage
        self.terms = terms
        self.now = now
        self.schema = schema
        self.writer = writer
        self.frame = frame
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
        touchOrder.compactMap { touched in
            guard touched.record.kind == Kind.need.rawValue,
                touched.isNew || touched.wasWithdrawn,
                touched.record.progress.status == .recorded
            else { return nil }
            return touched.record
        }
    }

    func admit(_ group: ChangeGroup) throws {
        groups.append(group)
        guard let touched = try readable({ try load(group.record) }) else {
            // What comes behind it must not wait until the operator has restored the ledger.
            outcomes.append(
                StoredOutcome(
                    outcome: rejected(.unreadable, "the hub's disk has altered the record")))
            return
        }
        if let rejection = try fault(in: group, stored: touched) {
            if group.createdKind != nil, touched == nil {
                try storage.setCreationRefused(true, group.record)
                hasRefusedCreations = .success(true)
            }
            outcomes.append(StoredOutcome(outcome: rejection))
            return
        }
        try apply(group, to: touched)
    }

    // MARK: Judging

    private func rejected(
        _ code: RejectionCode, field: UInt32 = 0, _ reason: String
    ) -> GroupOutcome {
        .rejected(code: code.rawValue, field: field, reason: reason)
    }

    private func fault(
        in group: ChangeGroup, stored touched: TouchedRecord?
    ) throws -> GroupOutcome? {
        // Judged in place: a copy would have all that it refers to counted.
        let kind: Kind
        if let created = group.createdKind {
            guard let known = schema.kind(created) else {
                return rejected(.upgrade, "this hub does not know records of kind \(created)")
            }
            kind = known
            if let touched, try !wasBroughtBack(touched.record) {
                return rejected(.recordExists, "the record exists")
            }
            let mayName =
                group.record.isWellFormed
                && writer.namingReplicas.contains(group.record.replica)
            if !mayName { return rejected(.recordExists, "the id is not this writer's to give") }
        } else if let touched {
            guard let known = schema.kind(touched.record.kind) else {
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
            for span in group.changes.spans where !device.role.mayWrite(kind, field: span.field) {
                return rejected(.role, field: span.field, "this role may not write that")
            }
        }
        if let invalid = faultInValues(of: group, kind: kind) { return invalid }
        // Admitted before the restore, and whole: what the hub has lost beside it (a scope, a team,
        // an answer) is no reason to refuse it now.
        if let touched, try cameBack(group, of: touched.record) { return nil }
        var size = touched?.record.state.size ?? 0
        for span in group.changes.spans {
            size += Int(max(0, span.length)) + RecordState.versionBytes
        }
        if size > LedgerLimits.recordBytesMax {
            return rejected(.invalid, "the record is full")
        }
        if let unknown = try faultInReferences(of: group, kind: kind, stored: touched) {
            return unknown
        }
        if writer.device != nil, try !isInScope(group, kind: kind, stored: touched) {
            return rejected(.scope, "the record is not in this device's territory or team")
        }
        return nil
    }

    /// Whether somebody who held a change of the group brought it back before its writer sent it
    /// again.
    private func cameBack(_ group: ChangeGroup, of record: StoredRecord) throws -> Bool {
        if writer.device == nil { return false }
        guard let brought = try earlierBrought.of(record) else { return false }
        return group.changes.enumerated().contains { index, change in
            brought.under(Dot(writer.replica.id, group.firstCounter + UInt64(index))).contains {
                $0.field == change.field && $0.version.value == change.value
            }
        }
    }

    /// Whether a record is only here because somebody who held it brought it back before its
    /// recorder sent it again.
    ///
    /// It stays so for ever: whether its creation came since is not kept. So a copy of the
    /// recorder's journal that creates it once more is not refused later either, and its values,
    /// which are equal, stand beside those that are there; no other writer may name the record.
    private func wasBroughtBack(_ record: StoredRecord) throws -> Bool {
        try earlierBrought.of(record)?.contains(sequence: record.firstSequence) ?? false
    }

    private func faultInValues(of group: ChangeGroup, kind: Kind) -> GroupOutcome? {
        let changes = group.changes
        let found: (field: UInt32, String)? = changes.bytes.withUnsafeBufferPointer { bytes in
            for span in changes.spans {
                guard let rule = FieldRule.rule(kind: kind, field: span.field) else { continue }
                let fault =
                    span.length < 0
                    ? rule.faultWhenCleared : rule.fault(in: bytes.value(span))
                if let fault { return (span.field, fault) }
            }
            return nil
        }
        if let found { return rejected(.invalid, field: found.field, found.1) }
        guard group.createdKind != nil else { return nil }
        for field in FieldRule.required(of: kind)
        where !changes.spans.contains(where: { $0.field == field }) {
            return rejected(.invalid, field: field, "missing")
        }
        return nil
    }

    private func faultInReferences(
        of group: ChangeGroup, kind: Kind, stored: TouchedRecord?
    ) throws -> GroupOutcome? {
        for span in group.changes.spans where span.length >= 0 {
            switch kind {
            case .note:
                guard NoteField(rawValue: span.field) == .need,
                    let bytes = group.changes.value(of: span),
                    case .record(let need) = FieldValue(.record, bytes: bytes)
                else { continue }
                // Its place, and so who may see it, was decided when it was written.
                if let stored, stored.record.state.value(of: span.field) != bytes {
                    return rejected(.invalid, field: span.field, "a note stays with its need")
                }
                guard let parent = try readable({ try load(need) }) else {
                    return rejected(
                        .unreadable, field: span.field, "the hub's disk has altered the need")
                }
                if parent?.record.kind == Kind.need.rawValue { continue }
                return try storage.isCreationRefused(need)
                    ? rejected(.depends, field: span.field, "the need was refused")
                    : rejected(.unknownRecord, field: span.field, "there is no such need")
            case .need:
                guard let field = NeedField(rawValue: span.field) else { continue }
                if let fault = try fault(in: field, span, of: group.changes, stored: stored) {
                    return fault
                }
            case .territory, .team, .category:
                continue
            }
        }
        return nil
    }

    private func fault(
        in field: NeedField, _ span: ValueSpan, of changes: ChangeList, stored: TouchedRecord?
    ) throws -> GroupOutcome? {
        func value(_ form: FieldValue.Form) -> FieldValue? {
            changes.value(of: span).flatMap { FieldValue(form, bytes: $0) }
        }
        switch field {
        case .grid:
            if try !isGrid(span, of: changes) {
                return rejected(.unknownGrid, field: field.rawValue, "no such grid")
            }
        case .category:
            if try !isCategory(span, of: changes) {
                return rejected(.unknownCategory, field: field.rawValue, "no such category")
            }
        case .dispatch:
            guard case .dispatch(let dispatch) = value(.dispatch),
                try storage.team(dispatch.team) != nil
            else { return rejected(.unknownTeam, field: field.rawValue, "no such team") }
        case .answer:
            guard let device = writer.device, device.role == .team, let stored,
                case .answer(let answer) = value(.answer),
                let current = stored.record.progress.dispatch, current.order == answer.order,
                current.team != device.team
            else { return nil }
            return rejected(.scope, field: field.rawValue, "the order went to another team")
        case .rating:
            // Only a grade of the current order can be told to be early: a former order may have
            // been finished on a device that is still offline.
            guard case .rating(let rating) = value(.rating),
                let progress = stored?.record.progress, progress.dispatch != nil
            else { return rejected(.notFinished, field: field.rawValue, "nothing was finished") }
            if progress.dispatch?.order == rating.order && progress.answer?.verdict != .finished {
                return rejected(.notFinished, field: field.rawValue, "not finished yet")
            }
        case .text, .resident, .phone, .address, .urgency, .location, .withdrawal:
            break
        }
        return nil
    }

    private func isGrid(_ span: ValueSpan, of changes: ChangeList) throws -> Bool {
        try knownGrids.isKnown(span, of: changes) { try storage.territory($0)?.level == .grid }
    }

    private func isCategory(_ span: ValueSpan, of changes: ChangeList) throws -> Bool {
        try knownCategories.isKnown(span, of: changes) {
            try storage.isCategory($0) || !storage.hasCategories()
        }
    }

    private func scope(of device: Device, at base: UInt64) throws -> Scope {
        if let known = scopesAtBase[base] { return known }
        let scope = try storage.scope(device: device.id, at: base) ?? writer.scope
        scopesAtBase[base] = scope
        return scope
    }

    /// Scope is judged as of the change's base, so late work of a former team is not refused.
    private func isInScope(
        _ group: ChangeGroup, kind: Kind, stored: TouchedRecord?
    ) throws -> Bool {
        guard let device = writer.device else { return true }
        let grid =
            group.createdKind == Kind.need.rawValue
            ? group.changes.spans.first { $0.field == NeedField.grid.rawValue } : nil
        if let judgedPlace, judgedPlace.base == group.base {
            if let grid, judgedPlace.place == Placement(grid: judgedPlace.place.grid),
                let code = judgedPlace.place.grid, group.changes.isValue(grid, code)
            {
                return judgedPlace.isHeld
            }
            if grid == nil, judgedPlace.isHeld, let stored,
                judgedPlace.place == placement(of: stored.record)
            {
                return true
            }
        }
        let base = terms.cut(group.base, head: headBefore)
        let scopeAtBase = try scope(of: device, at: base)
        func isHeld(_ placement: Placement) -> Bool {
            writer.scope.contains(placement) || scopeAtBase.contains(placement)
        }
        let touched: TouchedRecord?
        if group.createdKind == nil {
            touched = stored
        } else if kind == .note {
            touched = try parent(of: group)
        } else {
            // Most needs of a batch lie in one grid.
            let code = grid.flatMap { group.changes.value(of: $0) }
            let place = Placement(grid: code.map { String(decoding: $0, as: UTF8.self) })
            let isHeld = isHeld(place)
            judgedPlace = (place, group.base, isHeld)
            return isHeld
        }
        guard let touched else { return false }
        let place = placement(of: touched.record)
        if isHeld(place) {
            judgedPlace = (place, group.base, true)
            return true
        }
        if try placement(of: touched, at: base).map(isHeld) ?? false { return true }
        guard try wasLost(touched.record, at: group.base) else { return false }
        // Whoever makes up a base gets past its scope, so the operator is told of each that does.
        if unjudgedBases.count < LedgerLimits.aheadEventsPerDeviceMax,
            !unjudgedBases.contains(where: { $0.term == group.base.term })
        {
            unjudgedBases.append(group.base)
        }
        return true
    }

    /// Whether nobody can tell any more where a record lay by a base: the base is in a part that a
    /// restore lost, and the record, or the need that a note is on, changed there, as what devices
    /// brought back of it shows. So late work on it is put before the office as it would have been.
    private func wasLost(_ record: StoredRecord, at base: Position) throws -> Bool {
        if try terms.contains(base, head: headBefore) || !earlierBrought.areAny { return false }
        if try earlierBrought.of(record)?.changes.isEmpty == false { return true }
        guard let parent = record.parent else { return false }
        if let known = needsBroughtBack[parent] { return known }
        let need = try storage.record(key: parent, unreadable: { _ in })
        let cameBack = try need.flatMap { try earlierBrought.of($0) }?.changes.isEmpty == false
        needsBroughtBack[parent] = cameBack
        return cameBack
    }

    /// Where a record lies now. A note lies where its need lies, but is told of it only when the
    /// batch ends.
    private func placement(of record: StoredRecord) -> Placement {
        if let parent = record.parent, let need = movedNeedByKey[parent] {
            return need.record.placement
        }
        return record.placement
    }

    /// Where a record lay when the ledger's head was `base`; `nil` when it did not exist yet.
    private func placement(of touched: TouchedRecord, at base: UInt64) throws -> Placement? {
        if touched.record.firstSequence > base { return nil }
        if let move = try moves(of: touched.record.key).first(where: { $0.sequence > base }) {
            return move.before
        }
        // Earlier groups of this very batch may have moved it.
        return touched.placementBefore
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
                if let before = entry.placeBefore {
                    moves.append((batch.end, Placement(touched.places[before])))
                }
            }
        }
        movesByKey[key] = moves
        return moves
    }

    // MARK: Applying

    private func context(of group: ChangeGroup) throws -> [RecordState.Context] {
        // All groups of a batch have seen the same of the ledger: what was before the batch.
        if writer.device == nil { return [.init(clock: ShortClock(base: head))] }
        if let contexts, contexts.base == group.base { return contexts.list }
        let clock = terms.clock(
            base: try storage.lostTermOnly(group.base, terms: terms, head: headBefore),
            admittedAt: headBefore + 1, ancestors: replica.ancestors)
        let list = [RecordState.Context(clock: clock)]
        contexts = (group.base, list)
        return list
    }

    private func apply(_ group: ChangeGroup, to known: TouchedRecord?) throws {
        let contexts = try context(of: group)
        let estimate = try estimate(of: group)
        let newestSeen = try newestStamp(at: contexts[0].clock.base)
        let newestOwn = replica.newestStamp
        let firstSequence = head + 1

        let touched: TouchedRecord
        if let known {
            touched = known
            if group.createdKind != nil { noteRecorder(of: touched) }
        } else {
            touched = try create(group)
        }
        let brought = known == nil ? nil : try earlierBrought.of(touched.record)
        let kind = touched.record.kind
        let changes = group.changes
        // Taken out while it changes, which would otherwise be checked at every step.
        var state = RecordState()
        swap(&state, &touched.record.state)
        let context = state.prepare(for: changes, contexts)
        func stamp(newestCovered: Int64?) -> Int64 {
            StampLaw.milliseconds(
                estimate: estimate.milliseconds, newestSeen: newestSeen, newestOwn: newestOwn,
                newestCovered: newestCovered, now: now)
        }
        let stampOfFirst = stamp(newestCovered: nil)
        var stamps = StampList()
        var superseded: [UInt32] = []
        var counter = group.firstCounter
        var sequence = head
        let writerID = replica.id
        for span in changes.spans {
            sequence += 1
            let dot = Dot(writerID, counter)
            counter += 1
            if let known = brought?.under(dot).first(where: {
                $0.field == span.field && $0.version.value == changes.value(of: span)
            }) {
                // Somebody who held it was faster than its writer.
                if state[span.field].winner?.dot != dot { superseded.append(span.field) }
                stamps.append(known.version.stamp.milliseconds)
                continue
            }
            var version: Version?
            var isWinner = true
            if !state.holds(span.field) {
                state.insertFirst(
                    span, of: changes, stamp: Stamp(milliseconds: stampOfFirst, dot: dot),
                    sequence: sequence, context: context)
                stamps.append(stampOfFirst)
            } else {
                var incoming = Version(
                    value: changes.value(of: span), stamp: Stamp(milliseconds: 0, dot: dot),
                    sequence: sequence, clock: contexts[0].clock)
                try state.update(span.field) { register in
                    try inheritSeen(&incoming, from: register)
                    incoming.stamp.milliseconds = stamp(
                        newestCovered: register.newestCovered(by: incoming))
                    register.insert(incoming)
                    isWinner = register.versions.first?.dot == dot
                }
                stamps.append(incoming.stamp.milliseconds)
                version = incoming
            }
            var isLate = false
            if Self.mayBeLate(span.field, kind: kind) {
                swap(&state, &touched.record.state)
                isLate = noteLateness(of: span.field, in: touched) {
                    version ?? touched.record.state[span.field].winner
                }
                swap(&state, &touched.record.state)
            }
            if isLate || !isWinner { superseded.append(span.field) }
        }
        swap(&state, &touched.record.state)
        head = sequence
        let newest = stamps.newest
        replica.newestStamp = max(replica.newestStamp ?? .min, newest ?? .min)
        newestStamp = max(newestStamp ?? .min, newest ?? .min)
        if known == nil {
            touched.record.createdMilliseconds = stamps[0]
            touched.record.firstSequence = firstSequence
        }
        touched.record.lastSequence = head
        touched.isChanged = true
        place(touched)
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
        if version.clock.contains(clock) { return }
        // Terms; what was seen of replicas is told by the base.
        let lost = try clock.ancestors.filter { try isTerm($0.replica) }
        if lost.isEmpty { return }
        let seen = VectorClock(version.clock.ancestors + lost).entries
        // Fewer err toward a conflict.
        if seen.count <= Limits.ancestorsMax { version.clock.ancestors = seen }
    }

    private func isTerm(_ replica: ReplicaID) throws -> Bool {
        if let known = knownTerms[replica] { return known }
        let isTerm = try storage.replica(replica)?.device == nil
        knownTerms[replica] = isTerm
        return isTerm
    }

    /// Whether a change of this field may be a late answer, or settle one.
    private static func mayBeLate(_ field: UInt32, kind: UInt32) -> Bool {
        guard kind == Kind.need.rawValue else { return false }
        return switch NeedField(rawValue: field) {
        case .dispatch, .answer, .rating: true
        default: false
        }
    }

    /// Keeps the register of late answers up to date.
    ///
    /// - Returns: Whether the change is itself one: it counts for nothing, and its author is told.
    func noteLateness(
        of number: UInt32, in touched: TouchedRecord, _ version: () -> Version?
    ) -> Bool {
        guard Self.mayBeLate(number, kind: touched.record.kind),
            let field = NeedField(rawValue: number), let version = version()
        else { return false }
        let state = touched.record.state
        var late = state[LateAnswers.field]
        let before = late
        LateAnswers.update(&late, after: field, version: version) { state[$0.rawValue] }
        if late != before {
            touched.record.state[LateAnswers.field] = late
            // What the change leaves in its place tells the feed, unless a version has seen the
            // change: after a restore one may, that came before it.
            if !late.versions.contains(where: { $0.sequence == version.sequence }) {
                touched.hasLessThanBefore = true
            }
        }
        guard let order = LateAnswers.order(of: field, version.value) else { return false }
        return order != touched.record.progress.dispatch?.order
    }

    private func estimate(of group: ChangeGroup) throws -> WriteTimeEstimate {
        guard let device = writer.device else {
            return WriteTimeEstimate(
                written: group.written, sent: group.written, hub: now, measuredOffset: 0)
        }
        let boot = group.written.boot
        let offset: Int64?
        if boot == writer.clocks.boot && boot != 0 {
            // Measured by the request itself.
            offset = nil
        } else if let known = offsets[boot] {
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

    private func create(_ group: ChangeGroup) throws -> TouchedRecord {
        try create(
            group.record, kind: group.createdKind ?? 0, device: writer.device?.id,
            parent: group.createdKind == Kind.note.rawValue
                ? try parent(of: group)?.record : nil)
    }

    @discardableResult
    func create(
        _ id: RecordID, kind: UInt32, device: Int64?, parent: StoredRecord?
    ) throws -> TouchedRecord {
        if try hasRefusedCreations.get() { try storage.setCreationRefused(false, id) }
        var record = StoredRecord(
            key: try newKey(for: id), id: id, kind: kind,
            createdMilliseconds: 0, device: device, parent: nil, grid: nil, team: nil,
            firstSequence: 0, lastSequence: 0, state: RecordState())
        if let parent {
            record.parent = parent.key
            record.lie(at: placement(of: parent))
        }
        return touch(TouchedRecord(creating: record))
    }

    private func newKey(for id: RecordID) throws -> Int64 {
        let key = try storage.newKey(for: id) { key in
            // A device's needs come in the order of their numbers, as a rule.
            if key > greatestNewKey { return false }
            if newKeys == nil {
                newKeys = Set(touchOrder.lazy.filter(\.isNew).map(\.record.key))
            }
            return newKeys?.contains(key) ?? false
        }
        newKeys?.insert(key)
        greatestNewKey = max(greatestNewKey, key)
        return key
    }

    /// Derives a need's place from its fields, and has its notes follow.
    func place(_ touched: TouchedRecord) {
        guard touched.record.kind == Kind.need.rawValue else { return }
        let grid = touched.record.state.value(of: NeedField.grid.rawValue).flatMap {
            $0.withUnsafeBufferPointer { $0.isUTF8 ? String(decoding: $0, as: UTF8.self) : nil }
        }
        let team =
            touched.record.state.holds(NeedField.dispatch.rawValue)
            ? touched.record.progress.dispatch?.team : nil
        if touched.record.grid == grid && touched.record.team == team { return }
        touched.record.grid = grid
        touched.record.team = team
        noteMove(of: touched)
    }

    /// Puts a need into the bucket of the device that recorded it, which the hub may not know when
    /// somebody else brings the need back before its recorder comes.
    func noteRecorder(of touched: TouchedRecord) {
        guard let device = writer.device,
            writer.namingReplicas.contains(touched.record.id.replica),
            touched.record.device == nil, touched.record.kind == Kind.need.rawValue
        else { return }
        touched.record.device = device.id
        touched.isChanged = true
        hasFoundRecorder = true
        noteMove(of: touched)
    }

    /// Has everybody who holds something that a replica wrote and others brought back sent it anew,
    /// whole, now that it is known whose replica that is.
    func touchBrought(of replica: ReplicaID) throws {
        for key in try storage.broughtRecords(by: replica) {
            guard let record = try storage.record(key: key, unreadable: { _ in }) else { continue }
            let touched = touch(TouchedRecord(record))
            noteRecorder(of: touched)
            touched.isChanged = true
            touched.hasLessThanBefore = true
            hasFoundRecorder = true
        }
    }

    /// Has the notes on a need follow it when the batch ends, and not at once: a batch may move a need
    /// as often as it has changes, and there may be thousands of notes to read.
    private func noteMove(of need: TouchedRecord) {
        let key = need.record.key
        // Notes on a new need are of this batch, and those still to come lie where it then lies.
        if need.isNew && touchedNotes[key] == nil { return }
        if movedNeedByKey.updateValue(need, forKey: key) == nil { movedNeeds.append(need) }
    }

    private func parent(of group: ChangeGroup) throws -> TouchedRecord? {
        guard
            let bytes = group.changes.first(where: { $0.field == NoteField.need.rawValue })?.value,
            case .record(let need) = FieldValue(.record, bytes: bytes)
        else { return nil }
        return try load(need)
    }

    /// The record as this batch left it so far.
    func load(_ id: RecordID) throws -> TouchedRecord? {
        if let touched = records[id] { return touched }
        guard let record = try storage.record(id) else { return nil }
        return touch(TouchedRecord(record))
    }

    /// The same, without what the disk has altered beyond reading.
    func loadReadable(_ id: RecordID) throws -> TouchedRecord? {
        try readable { try load(id) } ?? nil
    }

    @discardableResult
    private func touch(_ touched: TouchedRecord) -> TouchedRecord {
        let id = touched.record.id
        records[id] = touched
        touchOrder.append(touched)
        if let parent = touched.record.parent { touchedNotes[parent, default: []].append(id) }
        return touched
    }

    // MARK: Finishing

    struct Finished {
        var head: UInt64
        var newestStamp: Int64?
    }

    /// Notes lie where their need lies.
    private func moveNotes() throws {
        for need in movedNeeds {
            let place = need.record.placement
            let key = need.record.key
            if !need.isNew {
                for child in try storage.children(of: key) {
                    // What the disk has altered beyond reading is not served, wherever it lies.
                    guard let note = try storage.record(key: child, unreadable: { _ in }),
                        records[note.id] == nil
                    else { continue }
                    touch(TouchedRecord(note))
                }
            }
            for id in touchedNotes[key] ?? [] {
                guard let note = records[id] else { continue }
                note.record.lie(at: place)
                note.isChanged = true
            }
        }
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
        try moveNotes()
        var feed = TouchedRecords()
        var digests = BucketSums()
        for touched in touchOrder where touched.isNew || touched.isChanged {
            // Read once: each reading of a class's property copies it.
            var record = touched.record
            let after = record.placement
            let moved = !touched.isNew && after != touched.placementBefore
            if touched.hasLessThanBefore
                || moved && !after.buckets.containsAll(of: touched.placementBefore.buckets)
            {
                record.leftSequence = head
            }
            if touched.isNew {
                try storage.insertRecord(record)
            } else {
                try storage.updateRecord(record, isMoved: moved)
            }
            feed.append(
                key: record.key, isCreated: touched.isNew, place: after,
                before: moved ? touched.placementBefore : nil)
            digests.add(record.digest, to: after)
            if !touched.isNew {
                digests.add(0 &- touched.digestBefore, to: touched.placementBefore)
            }
        }
        for (bucket, difference) in digests.differences where difference != 0 {
            try storage.addToDigest(difference, bucket: bucket)
        }
        // The hub's own counter is the sequence, and what is brought back comes under it.
        let firstCounter = groups.first?.firstCounter ?? headBefore + 1
        let chain = writer.device == nil || groups.isEmpty ? nil : replica.chain
        if chain != nil { replica.chain = chain?.appending(groups) }
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
                    : frame.map { StoredContent.encode(received: $0) }
                        ?? StoredContent.encode(groups),
                outcomes: StoredOutcome.encode(outcomes),
                touched: feed.encoded(), chain: chain))
        for entry in feed.entries where !entry.isCreated {
            try storage.appendHistory(record: entry.key, batch: number)
        }
        let rows = BroughtRow.all(of: brought, by: writer.device?.id ?? 0, inBatch: number) {
            records[$0]?.record.key
        }
        for (row, replicas) in rows { try storage.appendBrought(row, by: replicas) }
        return Finished(head: head, newestStamp: newestStamp)
    }
}

extension [Bucket] {
    fileprivate func containsAll(of others: [Bucket]) -> Bool {
        others.allSatisfy { contains($0) }
    }
}

/// Whether codes stand in a table of the ledger's, as far as this batch asked. Looked through by
/// their bytes: a batch names few.
private struct KnownCodes {
    private var recent: [(code: [UInt8], isKnown: Bool)] = []
    /// More than a batch of one village names; a hostile one asks the table anew.
    private static let countMax = 32

    mutating func isKnown(
        _ span: ValueSpan, of changes: ChangeList, _ look: (String) throws -> Bool
    ) throws -> Bool {
        for index in recent.indices where changes.isValue(span, recent[index].code) {
            return recent[index].isKnown
        }
        let code = changes.value(of: span) ?? []
        let isKnown = try look(String(decoding: code, as: UTF8.self))
        if recent.count < Self.countMax { recent.append((code, isKnown)) }
        return isKnown
    }
}

/// Sums by bucket. Most records of a batch lie in the same place.
private struct BucketSums {
    private var sums: [Bucket: UInt64] = [:]
    private var last: (place: Placement, sum: UInt64)?

    mutating func add(_ number: UInt64, to place: Placement) {
        if last?.place == place {
            last?.sum &+= number
        } else {
            settle()
            last = (place, number)
        }
    }

    private mutating func settle() {
        guard let last else { return }
        for bucket in last.place.buckets { sums[bucket, default: 0] &+= last.sum }
        self.last = nil
    }

    /// Sorted by bucket.
    var differences: [(key: Bucket, value: UInt64)] {
        var settled = self
        settled.settle()
        return settled.sums.sorted { $0.key < $1.key }
    }
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
