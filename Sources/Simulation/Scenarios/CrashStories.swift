import DeviceJournal
import HubLedger
import NeedModel
import SimulatedDisk
import SyncCore
import WireFormat

/// Bugs that need a crash or a failing disk.
let crashStories: [Scenario] = [
    Scenario("batch-fails-midway", bug: "actual #8904") { stage in
        let worker = try stage.worker("worker", in: "v1")
        let office = try stage.office("office")
        try stage.settle()
        for number in 0..<10 { _ = try office.record("井盖 \(number)", in: "g1") }
        try office.sync()
        _ = try worker.record("路灯", in: "g1")
        // In a new boot the device does not know the hub's time, and its own is an hour off.
        worker.machine.wallOffset = 3_600_000
        worker.machine.reboot(now: stage.now)
        let before = try worker.journal.inspect()
        let timeBefore = try worker.journal.approximateNow(worker.clocks)
        try stage.restartHub()
        let termBefore = try stage.ledger.info().term

        // The hub's disk is full at each step of the batch in turn.
        let request = try worker.request()
        var answer: SyncAnswer?
        for step in 1...200 where answer == nil {
            stage.hub.disk.failNext(after: step, with: .full)
            answer = try? stage.answer(request, to: worker)
        }
        stage.hub.disk.cancelFaults()
        guard let answer else { throw ScenarioFailure(description: "the hub does not recover") }
        try expect(
            try stage.ledger.info().term != termBefore, "a start without a term of its own")

        // Then the device's.
        var isStored = false
        for step in 1...200 where !isStored {
            worker.machine.disk.failNext(after: step, with: .full)
            isStored = (try? worker.absorb(answer, for: request)) != nil
            worker.machine.disk.cancelFaults()
            if isStored { break }
            worker.machine.stop()
            try worker.machine.open()
            let after = try worker.journal.inspect()
            if after.cursor != before.cursor {
                // Only the last sync failed: all of it is there, though nobody was told.
                isStored = after.outbox.isEmpty && after.records.count > before.records.count
                try expect(isStored, "the cursor moved without the data")
                break
            }
            try expect(after.records.count == before.records.count, "half a page is shown")
            try expect(
                after.outbox.map(\.isSettled) == before.outbox.map(\.isSettled),
                "a command counts as decided")
            try expect(
                try worker.journal.approximateNow(worker.clocks) == timeBefore,
                "the clock moved")
        }
        try expect(isStored, "the device does not recover")
        try stage.settle()
    },

    Scenario("killed-during-a-write", bug: "powersync-sqlite-core #162") { stage in
        let worker = try stage.worker("worker", in: "v1")
        try worker.sync()
        var toldCount = 0
        for crash in [Disk.Crash.processKilled, .powerLost] {
            for step in 1...200 {
                worker.machine.disk.failNext(after: step, with: .crash(crash))
                let isTold = (try? worker.record("井盖", in: "g1")) != nil
                if isTold { toldCount += 1 }
                let isStruck = worker.machine.disk.isDown
                if isStruck {
                    try worker.start()
                } else {
                    worker.machine.disk.cancelFaults()
                }
                try expect(try worker.sync() == .complete, "stuck after a crash at \(step)")
                try expect(try worker.journal.waitingGroups() == 0, "something waits for ever")
                if !isStruck { break }
            }
        }
        try expect(try stage.storedNeedCount() >= toldCount, "what was told as done is lost")
        let lost = try stage.ledger.devices().map(\.lostChanges).reduce(0, +)
        try expect(lost == 0, "the hub waited for what was never written")
        // Counters with nothing behind them look like another journal's, and this one would fork.
        let notices = try worker.journal.status().notices
        try expect(notices.isEmpty, "counters were given out for nothing")
        try stage.settle()
    },

    Scenario("counters-after-power-loss", bug: "syncthing #6335") { stage in
        let worker = try stage.worker("worker", in: "v1")
        try worker.sync()
        // Told as done, so it is there.
        for number in 0..<10 {
            let need = try worker.record("井盖 \(number)", in: "g1")
            try worker.crash(.powerLost)
            try expect(try worker.shown(need) != nil, "a command is gone with the power")
        }
        // Killed in a command: what can be seen of it may travel, so it must not be taken back.
        for step in 1...40 {
            worker.machine.disk.failNext(after: step, with: .crash(.processKilled))
            _ = try? worker.record("水管 \(step)", in: "g1")
            try worker.start()
            stage.network = .losesAnswers
            try worker.sync()
            stage.network = .works
            try worker.crash(.powerLost)
            _ = try worker.record("路灯 \(step)", in: "g1")
            try expect(try worker.sync() == .complete, "it does not come to rest")
        }
        try expect(
            try worker.journal.status().notices.isEmpty, "counters were used for two things")
        try stage.settle()
    },

    Scenario("full-disk-at-open", bug: "owncloud/client #5357") { stage in
        let worker = try stage.worker("worker", in: "v1")
        try worker.sync()
        for number in 0..<3 { _ = try worker.record("井盖 \(number)", in: "g1") }
        let disk = worker.machine.disk

        disk.bytesMax = disk.bytesUsed
        try worker.start()
        try expect(try worker.journal.waitingGroups() == 3, "what waits is gone")
        // A log that has room inside its file takes a few commands more.
        let fault = journalFault { for _ in 0..<1_000 { _ = try worker.record("路灯", in: "g1") } }
        try expect(fault?.category == .disk, "a full disk is taken for another fault")
        disk.bytesMax = .max
        try worker.start()
        let waiting = try worker.journal.waitingGroups()
        // A disk that cannot be read says nothing about what is on it.
        var reads = 1
        var isOpen = false
        while !isOpen {
            worker.machine.stop()
            let readsBefore = disk.readCount
            disk.failNextRead(after: reads)
            let fault = journalFault { try worker.machine.open() }
            isOpen = fault == nil && disk.readCount < readsBefore + reads
            try expect(
                fault == nil || fault?.category == .disk,
                "a disk that fails is taken for another fault")
            disk.cancelFaults()
            reads += 1
        }
        try expect(try worker.journal.waitingGroups() == waiting, "what waits is gone")
        try stage.settle()
        try expect(try stage.storedNeedCount() == waiting, "not all arrived")
    },
]

/// The error that the journal ends with; `nil` when there is none, or one of somebody else's.
private func journalFault(_ body: () throws -> Void) -> JournalError? {
    do {
        try body()
        return nil
    } catch {
        return error as? JournalError
    }
}
