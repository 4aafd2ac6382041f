import DeviceJournal
import HubLedger
import NeedModel
import SimulatedDisk
import SyncCore

/// Bugs in what the hub sends, and in what a device takes for complete.
let feedStories: [Scenario] = [
    Scenario("late-commit", bug: "marten #1879") { stage in
        let worker = try stage.worker("worker", in: "v1")
        let reader = try stage.office("reader")
        // The server and the operator's command line write to one ledger in turns, and after
        // every commit somebody reads as far as there is.
        let operation = try stage.secondProcess()
        for number in 0..<5 {
            let need = try worker.record("路灯 \(number)", in: "g1")
            try worker.sync()
            try reader.sync()
            try operation.dispatch(need, team: "t1", due: nil)
            try reader.sync()
            try expect(
                try reader.shown(need)?.status == .dispatched,
                "the reader went past a change that was to come")
        }
        try stage.settle()
    },

    Scenario("in-and-out-of-scope", bug: "electric #3854") { stage in
        let office = try stage.office("office")
        let workers = try ["g1", "g2", "g3"].map { try stage.worker($0, in: $0) }
        let need = try office.record("路灯不亮", in: "g1")
        try stage.settle()

        func expectOnly(_ grid: String, phone: String?) throws {
            for worker in workers {
                let shown = try worker.shown(need)
                try expect(
                    (shown != nil) == (worker.name == grid),
                    "\(worker.name) \(shown == nil ? "lacks" : "holds") what lies in \(grid)")
                try expect(shown?.phone == (shown == nil ? nil : phone), "\(grid): an old phone")
            }
        }
        // Through one grid into another, in one go.
        try office.set(.grid, of: need, to: "g2")
        try office.set(.phone, of: need, to: "110")
        try office.set(.grid, of: need, to: "g3")
        try stage.settle()
        try expectOnly("g3", phone: "110")
        // Out and back.
        try office.set(.grid, of: need, to: "g1")
        try office.set(.phone, of: need, to: "120")
        try office.set(.grid, of: need, to: "g3")
        try stage.settle()
        try expectOnly("g3", phone: "120")
    },

    Scenario("added-then-removed", bug: "rocicorp/mono #4282") { stage in
        let office = try stage.office("office")
        let reader = try stage.worker("reader", in: "g1")
        let guest = try office.record("路灯不亮", in: "g2")
        try stage.settle()
        // The guest comes with the first page of a long pull.
        try office.set(.grid, of: guest, to: "g1")
        for number in 0..<100 { _ = try office.record("井盖 \(number)", in: "g1") }
        try office.sync()
        let newcomer = try stage.worker("newcomer", in: "g1")
        for device in [reader, newcomer] {
            try expect(try !device.pullPage(), "one page is enough")
        }
        // It leaves before the second.
        try office.set(.grid, of: guest, to: "g2")
        try office.sync()
        for device in [reader, newcomer] {
            try device.sync(pageBytes: Limits.pageBytesMin)
            try expect(try device.shown(guest) == nil, "\(device.name) holds who left")
            // Digests would find it and have it taken away, but the feed shall need no mending.
            try expect(
                try device.journal.status().notices.isEmpty, "\(device.name) had to be mended")
        }
        try stage.settle()
    },

    Scenario("checkpoint-ahead-of-data", bug: "pouchdb #1240") { stage in
        let office = try stage.office("office")
        let reader = try stage.worker("reader", in: "v1")
        try reader.sync()
        let cursor = try reader.journal.inspect().cursor
        for number in 0..<200 { _ = try office.record("井盖 \(number)", in: "g1") }
        try office.sync()  // One batch, many pages.
        var steps = 1
        var isComplete = false
        while !isComplete {
            let request = try reader.request(pageBytes: Limits.pageBytesMin)
            let answer = try stage.answer(request, to: reader)
            reader.machine.disk.failNext(after: steps, with: .crash(.powerLost))
            let absorbed = try? reader.absorb(answer, for: request)
            isComplete = absorbed?.pullComplete ?? false
            if reader.machine.disk.isDown {
                try reader.start()
                isComplete = false
                steps += 1
            } else {
                reader.machine.disk.cancelFaults()
                steps = 1
            }
            try expect(steps < 1_000, "a page cannot be stored")
            // Both or neither: the cursor says that the data is there.
            let held = try reader.journal.inspect()
            let count = held.records.values.count { $0.kind == Kind.need.rawValue }
            if held.cursor != cursor {
                try expect(count == 200, "the cursor moved on with \(count) of 200 needs")
                isComplete = true
            } else {
                try expect(count == 0, "\(count) needs are shown before the cursor moved")
            }
        }
        try stage.settle()
    },

    Scenario("first-sync-killed", bug: "cht-core #7419") { stage in
        let office = try stage.office("office")
        for number in 0..<200 { _ = try office.record("井盖 \(number)", in: "g1") }
        try office.sync()
        let newcomer = try stage.worker("newcomer", in: "v1")
        for _ in 0..<2 { try expect(try !newcomer.pullPage(), "two pages are enough") }
        try newcomer.crash(.processKilled)

        let status = try newcomer.journal.status()
        try expect(status.lastSyncMilliseconds == nil, "half a pull counts as a sync")
        try expect(status.needs == 0, "half a pull is shown")
        try expect(status.isPullUnderWay, "half a pull is forgotten")
        try expect(
            try newcomer.sync(pageBytes: Limits.pageBytesMin) == .complete, "it does not go on")
        try expect(try newcomer.journal.status().needs == 200, "not all came")
        try stage.settle()
    },

    Scenario("reassigned-while-offline", bug: "cht-core #11306") { stage in
        let office = try stage.office("office")
        let worker = try stage.worker("worker", in: "v1")
        let team = try stage.team("team", of: "t1")
        try office.sync()
        let need = try office.record("路灯不亮", in: "g2")
        try office.dispatch(need, to: "t1")
        try stage.settle()
        // Both are away while their work goes to others.
        try stage.move(grid: "g2", to: "v2")
        try office.dispatch(need, to: "t2")
        try office.sync()
        stage.pass(seconds: 60)
        try worker.set(.address, of: need, to: "村口")
        let own = try worker.record("井盖", in: "g2")
        _ = try team.journal.accept(need, clocks: team.clocks)
        let successor = try stage.worker("successor", in: "v2")
        try stage.settle()

        for device in [worker, team] {
            try expect(try device.journal.refused().isEmpty, "\(device.name)'s work is refused")
            try expect(try device.shown(need) == nil, "\(device.name) still holds it")
        }
        try expect(try worker.shown(own) != nil, "what the worker recorded is gone")
        let shown = try successor.shown(need)
        try expect(shown?.address == "村口", "the former worker's change is lost")
        try expect(try successor.shown(own) != nil, "the successor lacks a need")
        try expect(
            try office.shown(need)?.conflicts.map(\.field) == [.dispatch],
            "the office is not told of the former team's work")
    },
]
