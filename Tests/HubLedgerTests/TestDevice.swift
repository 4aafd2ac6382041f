import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// A client made by hand: counters, base, what it pulled, and clocks that the test sets.
///
/// It does what `protocol/SPEC.md` asks of a device and no more: no journal, no overlay.
final class TestDevice {
    let hub: TestHub
    private(set) var id: Int64
    private(set) var token: String

    // What it writes
    /// A new one has written nothing.
    var replica: ReplicaID {
        didSet { (chain, chains) = (.empty, [:]) }
    }
    var nextCounter: UInt64 = 1
    var nextRecord: UInt64 = 1
    var ancestors: [Ancestor] = []
    /// Of all below what waits, and below each group that was decided, by its counter.
    private var chain = HashChain.empty
    private var chains: [UInt64: HashChain] = [:]
    /// Groups without an outcome, oldest first.
    var waiting: [ChangeGroup] = []
    /// Groups with an outcome, as long as a test wants them again.
    var settled: [ChangeGroup] = []
    private(set) var refusals: [Outcomes.Refusal] = []
    private(set) var superseded: [Outcomes.Superseded] = []

    // What it pulled
    var cursor = Position.origin
    var scopeID: UInt64 = 0
    private(set) var scope = Scope.empty
    private(set) var state: [RecordID: HeldRecord] = [:]
    private(set) var names: [ReplicaID: String] = [:]
    var resume: [UInt8] = []
    private var staged: [Page] = []
    private var stagedScope: Scope?
    private var ownReplicas: Set<ReplicaID> = []
    private var answers = 0

    // Its clocks
    var boot: UInt64 = 7
    var bootMilliseconds = TestHub.start - 1_000_000
    /// How far its wall clock is ahead of the truth.
    var wallError: Int64 = 0

    init(hub: TestHub, id: Int64, token: String) {
        self.hub = hub
        self.id = id
        self.token = token
        replica = ReplicaID(truncating: 0xA000_0000 + UInt64(id))
        ownReplicas = [replica]
    }

    /// A copy of its journal: another machine that believes to be this one.
    func clone() -> TestDevice {
        let copy = TestDevice(hub: hub, id: id, token: token)
        copy.copy(self)
        return copy
    }

    /// Goes back to what a copy of its journal held.
    func restore(_ journal: TestDevice) { copy(journal) }

    private func copy(_ other: TestDevice) {
        (replica, nextCounter, nextRecord) = (other.replica, other.nextCounter, other.nextRecord)
        (ancestors, waiting, settled) = (other.ancestors, other.waiting, other.settled)
        (chain, chains) = (other.chain, other.chains)
        (cursor, scopeID, scope) = (other.cursor, other.scopeID, other.scope)
        (state, names, resume) = (other.state, other.names, other.resume)
        (staged, stagedScope, ownReplicas) = (other.staged, other.stagedScope, other.ownReplicas)
        (boot, bootMilliseconds, wallError) = (other.boot, other.bootMilliseconds, other.wallError)
    }

    /// Belongs to another hub from now on, with nothing pulled from it.
    func move(to id: Int64, token: String) {
        (self.id, self.token) = (id, token)
        ownReplicas = [replica]
    }

    var clocks: ClockReading {
        ClockReading(
            wallMilliseconds: hub.time.now.addingSaturated(wallError), boot: boot,
            elapsedMilliseconds: hub.time.now - bootMilliseconds)
    }

    func reboot(_ boot: UInt64) {
        self.boot = boot
        bootMilliseconds = hub.time.now
    }

    // MARK: Writing

    /// Stores one command.
    @discardableResult
    func write(
        _ record: RecordID, creating kind: UInt32? = nil, _ changes: [Change]
    ) -> ChangeGroup {
        let group = ChangeGroup(
            record: record, createdKind: kind, firstCounter: nextCounter, changes: changes,
            base: cursor, written: clocks)
        nextCounter = group.nextCounter
        waiting.append(group)
        return group
    }

    func newID() -> RecordID {
        defer { nextRecord += 1 }
        return RecordID(
            milliseconds: hub.time.now &+ wallError, replica: replica, number: nextRecord)
    }

    @discardableResult
    func addNeed(
        _ text: String = "缺路灯", grid: String = "g1", category: String? = nil,
        _ more: [Change] = []
    ) -> RecordID {
        let id = newID()
        var changes = [set(.text, .text(text)), set(.grid, .text(grid))]
        if let category { changes.append(set(.category, .text(category))) }
        write(id, creating: Kind.need.rawValue, changes + more)
        return id
    }

    @discardableResult
    func addNote(on need: RecordID, _ text: String = "已联系") -> RecordID {
        let id = newID()
        write(
            id, creating: Kind.note.rawValue,
            [
                Change(field: NoteField.need.rawValue, value: FieldValue.record(need).bytes),
                Change(field: NoteField.text.rawValue, value: FieldValue.text(text).bytes),
            ])
        return id
    }

    @discardableResult
    func edit(_ need: RecordID, _ field: NeedField, _ value: FieldValue?) -> ChangeGroup {
        write(need, [set(field, value)])
    }

    /// - Returns: The order's number.
    @discardableResult
    func dispatch(_ need: RecordID, to team: String, order: UInt64? = nil) -> UInt64 {
        let order = order ?? replica.rawValue << 16 | nextCounter
        edit(
            need, .dispatch,
            .dispatch(FieldValue.Dispatch(order: order, team: team, due: nil)))
        return order
    }

    func answer(
        _ need: RecordID, _ order: UInt64, _ verdict: FieldValue.Verdict, _ text: String = ""
    ) {
        edit(
            need, .answer,
            .answer(FieldValue.Answer(order: order, verdict: verdict, text: text)))
    }

    func rate(_ need: RecordID, _ order: UInt64, grade: Int) {
        edit(need, .rating, .rating(FieldValue.Rating(order: order, grade: grade)))
    }

    // MARK: Syncing

    func request(
        groups: [ChangeGroup]? = nil, missingFrom: UInt64 = 1, heldFrom: UInt64? = nil,
        pageBytes: Int = Limits.pageBytesStart
    ) -> SyncRequest {
        SyncRequest(
            attempt: 1, replica: replica, nextCounter: nextCounter, cursor: cursor,
            scope: scopeID, clocks: clocks, resume: resume, pageBytes: pageBytes,
            groups: groups ?? waiting,
            // It never says that it holds something which no pull contained.
            chain: (groups ?? waiting).isEmpty && heldFrom == nil
                ? nil : chain(below: (groups ?? waiting).first?.firstCounter ?? nextCounter),
            ancestors: ancestors,
            gap: heldFrom.map {
                SyncRequest.Gap(counters: missingFrom..<$0, chain: chain(below: missingFrom))
            })
    }

    /// Of all that the replica wrote below a counter.
    func chain(below counter: UInt64) -> HashChain {
        chains[counter] ?? chain.appending(waiting.prefix { $0.firstCounter < counter })
    }

    /// Its replica, as one from which another descends.
    func ancestor(upTo counter: UInt64) -> Ancestor {
        Ancestor(Dot(replica, counter), chain: chain(below: counter + 1))
    }

    /// One round trip; `isLost` loses the answer.
    @discardableResult
    func exchange(
        groups: [ChangeGroup]? = nil, pageBytes: Int = Limits.pageBytesStart,
        isLost: Bool = false
    ) throws -> SyncAnswer {
        let request = request(groups: groups, pageBytes: pageBytes)
        let answer = try hub.sync(self, request)
        if !isLost { try absorb(answer, of: request) }
        return answer
    }

    /// Round trips until nothing waits and the pull is complete.
    func sync(pageBytes: Int = Limits.pageBytesStart) throws {
        for _ in 0..<10_000 {
            let answer = try exchange(pageBytes: pageBytes)
            if answer.page?.cursor != nil && waiting.isEmpty { return }
        }
        throw PropertyFailure(description: "the sync does not end")
    }

    /// Takes an answer in, the first ones through the bytes that would have travelled.
    func absorb(_ original: SyncAnswer, of request: SyncRequest) throws {
        answers += 1
        let answer = answers > 20 ? original : try SyncAnswer(decoding: original.encoded())
        if let outcomes = answer.outcomes { try settle(outcomes, of: request) }
        guard let page = answer.page else { return }
        if page.restart {
            staged = []
            stagedScope = nil
        }
        if let assignment = answer.assignment { stagedScope = assignment.scope }
        staged.append(try filledIn(page, from: request))
        resume = page.resume
        if let cursor = page.cursor { try complete(at: cursor) }
    }

    /// Takes answers as they are from now on, which saves a third of a history's time.
    func skipsCoding() { answers = 20 }

    /// Forgets what was staged: the program was killed between two pages and had not stored it.
    func dropStaged() {
        staged = []
        stagedScope = nil
        resume = []
    }

    private func settle(_ outcomes: Outcomes, of request: SyncRequest) throws {
        let decided = request.groups.prefix { $0.nextCounter <= outcomes.settledCounter }
        refusals += outcomes.refusals
        superseded += outcomes.superseded
        settled += decided.filter { waiting.contains($0) }
        for group in decided where waiting.contains(group) {
            chains[group.firstCounter] = chain
            chain.append(group)
        }
        waiting.removeAll { decided.contains($0) }
        if let counter = outcomes.forkCounter { fork(from: counter) }
        if let counter = outcomes.expectedCounter {
            let again = settled.filter { $0.firstCounter >= counter }
            if let first = again.first { chain = chain(below: first.firstCounter) }
            for group in again { chains[group.firstCounter] = nil }
            waiting = again + waiting
            settled.removeAll { $0.firstCounter >= counter }
        }
    }

    /// Goes on as a new replica; what waits is numbered anew.
    func fork(from counter: UInt64) {
        ancestors.append(ancestor(upTo: counter - 1))
        ancestors.sort { $0.dot < $1.dot }
        replica = ReplicaID(truncating: replica.rawValue &* 31 &+ counter &+ hub.forkSalt())
        ownReplicas.insert(replica)
        nextCounter = 1
        nextRecord = 1
        settled = []
        for index in waiting.indices {
            waiting[index].firstCounter = nextCounter
            nextCounter = waiting[index].nextCounter
        }
    }

    private func filledIn(_ page: Page, from request: SyncRequest) throws -> Page {
        var page = page
        for record in page.records.indices {
            for field in page.records[record].fields.indices {
                let number = page.records[record].fields[field].field
                for version in page.records[record].fields[field].versions.indices {
                    let old = page.records[record].fields[field].versions[version]
                    guard case .asSent = old.value else { continue }
                    let counter = old.stamp.dot.counter
                    let group = request.groups.first {
                        $0.firstCounter <= counter && counter < $0.nextCounter
                    }
                    guard let group, old.stamp.dot.replica == request.replica,
                        group.record == page.records[record].id
                    else { throw PropertyFailure(description: "as sent, but was not sent") }
                    let change = group.changes[Int(counter - group.firstCounter)]
                    try check(change.field == number, "as sent, but in another field")
                    page.records[record].fields[field].versions[version].value =
                        change.value.map { .bytes($0) } ?? .cleared
                }
            }
        }
        return page
    }

    private func complete(at cursor: Position) throws {
        for page in staged {
            for writer in page.writers { names[writer.replica] = writer.name }
            for record in page.records { try store(record) }
            for id in page.departed { leave(id) }
        }
        if let stagedScope {
            scope = stagedScope
            scopeID = stagedScope.id
            for (id, record) in state where record.kind == Kind.need.rawValue {
                if !scope.contains(placement(of: record, id)) { leave(id) }
            }
        }
        self.cursor = cursor
        dropStaged()
    }

    private func store(_ record: PageRecord) throws {
        var held: HeldRecord
        if let created = record.createdMilliseconds {
            held = HeldRecord(
                kind: record.kind, created: created, contested: [], fields: [:])
        } else {
            guard let known = state[record.id] else {
                throw PropertyFailure(
                    description: "only changes came of a record that is not held")
            }
            held = known
        }
        held.contested = record.contested
        for field in record.fields {
            held.fields[field.field] = try field.versions.map { version in
                let value: [UInt8]?
                switch version.value {
                case .bytes(let bytes): value = bytes
                case .cleared: value = nil
                case .asSent: throw PropertyFailure(description: "not filled in")
                }
                return HeldRecord.Version(
                    value: value, stamp: version.stamp, sequence: version.sequence)
            }
        }
        state[record.id] = held
    }

    /// Removes a record, and the notes on it, which lie where it lies.
    private func leave(_ id: RecordID) {
        state[id] = nil
        let bytes = id.bytes
        for (note, record) in state
        where record.kind == Kind.note.rawValue
            && record.fields[NoteField.need.rawValue]?.first?.value == bytes
        { state[note] = nil }
    }

    private func placement(of record: HeldRecord, _ id: RecordID) -> Placement {
        var placement = Placement()
        if case .text(let grid) = record.winner(.grid) { placement.grid = grid }
        if case .dispatch(let dispatch) = record.winner(.dispatch) {
            placement.team = dispatch.team
        }
        if ownReplicas.contains(id.replica) { placement.device = self.id }
        return placement
    }
}

/// Its part after a restore, SPEC §6.
extension TestDevice {
    /// What a device shows, as it brings it.
    func held(beyond shared: UInt64) -> [PageRecord] {
        state.sorted { ($0.value.kind, $0.key) < ($1.value.kind, $1.key) }
            .compactMap { id, record in
                func isLost(_ versions: [HeldRecord.Version]) -> Bool {
                    versions.contains { $0.sequence > shared }
                }
                guard record.fields.values.contains(where: isLost) else { return nil }
                let telling = NeedConflicts.fieldsThatTell(
                    contested: record.contested,
                    hasLate: record.fields[LateAnswers.field] != nil)
                let fields = record.fields.filter {
                    isLost($0.value) || telling.contains($0.key)
                }
                return PageRecord(
                    id: id, kind: record.kind, createdMilliseconds: record.created,
                    contested: record.contested, places: [],
                    fields: fields.sorted { $0.key < $1.key }.map { field, versions in
                        PageRecord.Field(
                            field: field,
                            versions: versions.map {
                                PageRecord.Version(
                                    value: $0.value.map { .bytes($0) } ?? .cleared,
                                    stamp: $0.stamp, sequence: $0.sequence)
                            })
                    })
            }
    }

    /// Brings back all that the hub has lost.
    ///
    /// - Parameter reached: Where its pulls ended, one place a term; by default where the newest did.
    @discardableResult
    func bring(to copy: TestHub, reached: [Position]? = nil) throws -> Position {
        var request = request(groups: [])
        let told = try copy.sync(self, request)
        let confirmed = try #require(told.recovered)
        let line = try #require(told.line.isEmpty ? nil : TermLine(told.line))
        let reached = reached ?? [cursor]
        let lost = LostPart(reached: reached, line: line, head: confirmed.sequence)
        request.recovery = SyncRequest.Recovery(
            confirmed: confirmed, reached: reached, records: held(beyond: lost.shared))
        let answer = try copy.sync(self, request)
        try check(
            answer.page == nil && answer.outcomes == nil, "it says more than that it is there")
        let findings = try copy.ledger.check()
        try check(findings.isEmpty, "\(findings)")
        return try #require(answer.recovered)
    }

    /// The pull that ends a recovery.
    @discardableResult
    func endRecovery(at copy: TestHub, confirmed: Position) throws -> SyncAnswer {
        var request = request(groups: [])
        request.recovery = SyncRequest.Recovery(
            confirmed: confirmed, reached: [cursor], records: [])
        let answer = try copy.sync(self, request)
        // It has pulled what was decided, and holds it no more.
        settled = []
        try absorb(answer, of: request)
        return answer
    }
}

/// A change of one field of a need.
func set(_ field: NeedField, _ value: FieldValue?) -> Change {
    Change(field: field.rawValue, value: value?.bytes)
}
