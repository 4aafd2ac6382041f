import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// Rules 12 and 13: pages, resumed pulls, and records and scopes that move meanwhile.
@Suite("Feed")
struct FeedTests {
    /// Records that go back and forth between four grids and three teams while those who watch
    /// pull one record a page.
    @Test("a pull by the smallest pages ends in the ledger's state, whatever moves meanwhile")
    func concurrentMoves() throws {
        var pages = 0
        forEachSeed(150) { generator in
            let hub = try TestHub.withCrew(seed: generator.next())
            let crew = hub.crew
            let mover = crew[5]
            try mover.sync()
            let needs = (0..<3).map { _ in mover.addNeed(grid: "g\(1 + generator.below(4))") }
            for need in needs { mover.addNote(on: need) }
            try mover.sync()
            for device in crew where generator.oneIn(2) { try device.sync() }
            for _ in 0..<24 {
                hub.time.now += 1_000
                if generator.oneIn(2) {
                    let need = needs.randomElement(using: &generator)!
                    switch generator.below(8) {
                    case 0...2:
                        mover.edit(need, .grid, .text("g\(1 + generator.below(4))"))
                    case 3...4:
                        mover.dispatch(
                            need, to: ["A", "B", "C"].randomElement(using: &generator)!)
                    case 5: mover.edit(need, .address, .text("\(generator.below(100))"))
                    case 6: mover.addNote(on: need)
                    default: mover.edit(need, .urgency, .integer(1))
                    }
                    try mover.sync()
                } else {
                    let device = crew[generator.below(5)]
                    let request = device.request(pageBytes: 1)
                    let answer = try hub.sync(device, request)
                    try device.absorb(answer, of: request)
                    pages += 1
                    let page = try #require(answer.page)
                    for record in page.records {
                        let placement = try #require(try hub.record(record.id)).placement
                        try check(
                            try hub.scope(of: hub.device(device.id)).contains(placement),
                            "a record from outside the scope")
                    }
                    guard page.cursor != nil else { continue }
                    try check(
                        device.state == hub.state(within: device.scope),
                        "the pull ends in another state than the ledger's")
                }
            }
            for device in crew {
                try device.sync(pageBytes: 1)
                try check(
                    device.state == hub.state(within: device.scope),
                    "the end is not the ledger's state")
            }
        }
        #expect(pages > 0)
    }

    let hub: TestHub
    let office: TestDevice
    let worker: TestDevice

    init() throws {
        hub = try TestHub()
        office = try hub.office("b")
        worker = try hub.worker("v1")
    }

    @Test("small pages end in the same state as one big page")
    func smallPages() throws {
        try office.sync()
        for number in 0..<20 {
            office.addNeed("路灯 \(number)", grid: number % 2 == 0 ? "g1" : "g3")
        }
        try office.sync()
        let small = try hub.worker("v1", name: "另一网格员")
        try worker.sync()
        var pages = 0
        while try small.exchange(pageBytes: 1).page?.cursor == nil { pages += 1 }
        #expect(pages > 20)
        #expect(small.state == worker.state)
        #expect(small.cursor == worker.cursor)
    }

    @Test("a page is about as large as was asked for")
    func pageSize() throws {
        try office.sync()
        for number in 0..<200 { office.addNeed("路灯 \(number)", grid: "g1") }
        try office.sync()
        let answer = try worker.exchange(pageBytes: 4_000)
        let bytes = try #require(answer.page).records.reduce(0) {
            $0 + $1.fields.reduce(0) { $0 + $1.versions.count * 8 }
        }
        #expect(answer.page?.cursor == nil)
        #expect(bytes > 500 && bytes < 4_200)
    }

    @Test("a device killed between two pages drops what it staged and ends in the same state")
    func killedBetweenPages() throws {
        try office.sync()
        for _ in 0..<10 { office.addNeed() }
        try office.sync()
        for _ in 0..<5 { try worker.exchange(pageBytes: 1) }
        worker.dropStaged()
        try worker.sync(pageBytes: 1)
        #expect(worker.state == (try hub.state(within: worker.scope)))
    }

    @Test("a pull goes on where its last answer that arrived left it")
    func lostPage() throws {
        try office.sync()
        for _ in 0..<10 { office.addNeed() }
        try office.sync()
        var lost = 0
        var isLost = false
        while try worker.exchange(pageBytes: 1, isLost: isLost).page?.cursor == nil {
            isLost.toggle()
            if isLost { lost += 1 }
        }
        #expect(lost > 5)
        #expect(worker.state == (try hub.state(within: worker.scope)))
    }

    @Test("of a record that is held only the changed fields come")
    func onlyChanges() throws {
        try office.sync()
        try worker.sync()
        let need = office.addNeed()
        try office.sync()
        try worker.sync()
        office.edit(need, .urgency, .integer(3))
        try office.sync()
        let page = try #require(try worker.exchange().page)
        #expect(page.records.count == 1)
        #expect(page.records.first?.createdMilliseconds == nil)
        #expect(page.records.first?.fields.map(\.field) == [NeedField.urgency.rawValue])
        #expect(worker.state == (try hub.state(within: worker.scope)))
    }

    @Test("a dispatch adds a bucket and takes none, so who held the need gets only the change")
    func dispatchIsAChange() throws {
        try office.sync()
        let need = office.addNeed()
        try office.sync()
        try worker.sync()
        office.dispatch(need, to: "A")
        try office.sync()
        let page = try #require(try worker.exchange().page)
        #expect(page.records.first?.fields.map(\.field) == [NeedField.dispatch.rawValue])
        #expect(worker.state == (try hub.state(within: worker.scope)))
    }

    @Test("a record that left and came back during one pull comes whole")
    func leftAndCameBack() throws {
        try office.sync()
        try worker.sync()
        let first = office.addNeed("一", grid: "g3")
        let second = office.addNeed("二", grid: "g1")
        try office.sync()
        worker.dropStaged()
        try worker.sync()
        // Into the worker's grid, touched, and out again.
        office.edit(first, .grid, .text("g1"))
        try office.sync()
        office.edit(second, .urgency, .integer(1))
        try office.sync()
        office.edit(first, .urgency, .integer(2))
        try office.sync()
        office.edit(first, .grid, .text("g3"))
        try office.sync()
        // The first page says that it left; then it comes back.
        let page = try #require(try worker.exchange(pageBytes: 1).page)
        #expect(page.departed == [first])
        office.edit(first, .grid, .text("g1"))
        try office.sync()
        try worker.sync(pageBytes: 1)
        #expect(worker.state == (try hub.state(within: worker.scope)))
        #expect(worker.state[first]?.winner(.text) == .text("一"))
    }

    @Test("a new bucket is sent from the start in the same pull")
    func newBucket() throws {
        try office.sync()
        let need = office.addNeed("旧", grid: "g3")
        office.addNote(on: need)
        try office.sync()
        try worker.sync()
        #expect(worker.state[need] == nil)
        try moveGrid("g3", to: "v1")
        let answer = try worker.exchange()
        #expect(answer.assignment?.scope.contains(.grid("g3")) == true)
        #expect(worker.state[need] != nil)
        #expect(worker.state == (try hub.state(within: worker.scope)))
        #expect(worker.scopeID == (try hub.scope(of: hub.device(worker.id)).id))
    }

    @Test("a grid that leaves the scope takes its needs along")
    func lostBucket() throws {
        try office.sync()
        let need = office.addNeed("旧", grid: "g2")
        office.addNote(on: need)
        try office.sync()
        try worker.sync()
        #expect(worker.state[need] != nil)
        try moveGrid("g2", to: "v3")
        office.edit(need, .urgency, .integer(1))
        try office.sync()
        try worker.sync()
        #expect(worker.state[need] == nil)
        #expect(worker.state == (try hub.state(within: worker.scope)))
    }

    @Test("a scope that changes midway starts the pull anew")
    func scopeChangesMidway() throws {
        try office.sync()
        for number in 0..<6 { office.addNeed("\(number)", grid: "g\(1 + number % 3)") }
        try office.sync()
        for _ in 0..<18 { try worker.exchange(pageBytes: 1) }
        #expect(worker.resume != [])
        try moveGrid("g3", to: "v1")
        let answer = try worker.exchange(pageBytes: 1)
        #expect(answer.page?.restart == true)
        #expect(answer.assignment?.scope.contains(.grid("g3")) == true)
        try worker.sync(pageBytes: 1)
        #expect(worker.state == (try hub.state(within: worker.scope)))
        #expect(worker.state.values.count { $0.kind == Kind.need.rawValue } == 6)
    }

    @Test("a resume that nobody gave out starts the pull anew")
    func forgedResume() throws {
        try worker.sync()
        for bytes in [[1, 2, 3], Array(repeating: 255, count: 40)] as [[UInt8]] {
            worker.resume = bytes
            let answer = try hub.sync(worker, worker.request())
            #expect(answer.page?.restart == true)
            #expect(answer.page?.cursor != nil)
        }
    }

    @Test("a resume cannot open a bucket of others")
    func resumeInScope() throws {
        try office.sync()
        let need = office.addNeed("东村外", grid: "g4")
        try office.sync()
        try worker.sync()
        let info = try hub.ledger.info()
        for bucket in 0..<8 {
            worker.resume =
                Feed.Progress(
                    scopeID: worker.scopeID,
                    served: Position(term: info.term, sequence: info.head),
                    cursor: worker.cursor.sequence,
                    phase: .walk(bucket: bucket, key: .min, headAtStart: 0)
                ).bytes
            let page = try #require(try hub.sync(worker, worker.request()).page)
            #expect(!page.records.contains { $0.id == need })
        }
    }

    @Test("10 changes cost a page of 10 records, however many there are")
    func costFollowsChange() throws {
        try office.sync()
        let needs = (0..<400).map { office.addNeed("\($0)", grid: "g1") }
        try office.sync()
        try worker.sync()
        for need in needs.prefix(10) { office.edit(need, .urgency, .integer(2)) }
        try office.sync()
        let page = try #require(try worker.exchange().page)
        #expect(page.records.count == 10)
        #expect(page.records.allSatisfy { $0.fields.count == 1 })
    }

    @Test("what is queried for a page is found by an index")
    func queryPlans() throws {
        let plans = try hub.queryPlans([
            "SELECT key FROM record WHERE key > 1 AND kind >= 3 ORDER BY key LIMIT 9",
            "SELECT key FROM record WHERE grid = 'g' AND key > 1 ORDER BY key LIMIT 9",
            "SELECT key FROM record WHERE team = 't' AND key > 1 ORDER BY key LIMIT 9",
            "SELECT key FROM record WHERE device = 1 AND key > 1 ORDER BY key LIMIT 9",
            "SELECT touched FROM batch WHERE last_sequence > 1 ORDER BY last_sequence, number",
            """
            SELECT newest_stamp FROM batch WHERE last_sequence <= 1
            ORDER BY last_sequence DESC, number DESC LIMIT 1
            """,
            """
            SELECT number FROM batch WHERE replica = 1 AND first_counter <= 1
            ORDER BY first_counter DESC LIMIT 1
            """,
        ])
        for plan in plans {
            #expect(plan.contains("USING INDEX") || plan.contains("USING COVERING INDEX"))
            #expect(!plan.contains("TEMP B-TREE"))
        }
    }

    @Test("people behind the writers are named, but not the device itself")
    func writers() throws {
        let other = try hub.worker("v1", name: "王桂英")
        try worker.sync()
        try other.sync()
        worker.addNeed()
        other.addNeed()
        try worker.sync()
        try other.sync()
        try worker.sync()
        #expect(worker.names[other.replica] == "王桂英")
        #expect(worker.names[worker.replica] == nil)
    }

    private func moveGrid(_ grid: String, to village: String) throws {
        _ = try hub.ledger.importTable(
            .territory, csv: "code,name,level,parent\n\(grid),网格,grid,\(village)\n")
    }
}
