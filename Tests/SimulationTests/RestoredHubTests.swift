import DeviceJournal
import HubLedger
import NeedModel
import SimulatedDisk
import SyncCore
import Testing

@testable import Simulation

/// What a journal does about a hub that lost what it had confirmed, with the real ledger.
struct RestoredHubTests {
    /// - Parameter isSeen: Whether the restored hub lost what the worker had pulled, so that the
    ///   worker's cursor tells of it.
    @Test(arguments: [true, false])
    func whatAFormerReplicaHadSentIsSentAgain(isSeen: Bool) throws {
        try Stage.play { stage in
            let office = try stage.office("office")
            let worker = try stage.worker("worker", in: "v1")
            try worker.sync()
            var backup = try stage.backUpHub()
            let old = try worker.record("路灯不亮", in: "g1")
            try worker.sync()
            try worker.sync()
            if !isSeen { backup = try stage.backUpHub() }

            // What fills several pages, so that the pull does not end with the answer.
            for number in 0..<100 { _ = try office.record("井盖 \(number)", in: "g1") }
            try office.sync()
            // Both copies have the first command; what follows bears one counter twice.
            let first = try worker.record("水管冻裂", in: "g1")
            try worker.set(.address, of: first, to: "村口")
            try worker.set(.address, of: old, to: "桥头")
            let copy = try worker.clone()
            _ = try copy.record("复制机", in: "g1")
            try copy.sync()
            let second = try worker.record("积雪", in: "g1")
            let isComplete = try worker.pullPage()
            try #require(!isComplete)
            let outbox = try worker.journal.inspect().outbox
            try #require(outbox.map(\.isSettled) == [true, true, true, false])
            try #require(outbox[0].replica != outbox[3].replica)

            try stage.restoreHub(backup)
            #expect(try worker.sync() == .complete)
            #expect(try worker.sync() == .complete)
            for need in [first, second] { #expect(try worker.shown(need) != nil) }
            #expect(try worker.shown(first)?.address == "村口")
            #expect(try worker.shown(old)?.address == "桥头")
            #expect(try worker.journal.needsInConflict().isEmpty)
            #expect(try worker.journal.refused().isEmpty)
            #expect(try stage.stored(first).fields.count == 3)
            try stage.settle()
            #expect(try worker.shown(old)?.address == "桥头")
        }
    }

    /// A team works on an order that was replaced meanwhile, and the hub has lost both orders when
    /// the work comes.
    @Test(arguments: [true, false])
    func lateWorkOfAFormerTeamIsPutBeforeTheOffice(isOfficeFirst: Bool) throws {
        try Stage.play { stage in
            let office = try stage.office("office")
            let team = try stage.team("team", of: "t1")
            let need = try office.record("路灯不亮", in: "g1")
            try stage.settle()
            let backup = try stage.backUpHub()
            try office.dispatch(need, to: "t1")
            try stage.settle()
            _ = try team.journal.accept(need, clocks: team.clocks)
            try team.sync()
            try office.sync()
            try office.dispatch(need, to: "t2")
            try office.sync()
            _ = try team.journal.finish(need, result: "已修", clocks: team.clocks)
            try stage.restoreHub(backup)
            for device in isOfficeFirst ? [office, team] : [team, office] { try device.sync() }
            try stage.settle()
            #expect(try team.journal.refused().allSatisfy { $0.code != .scope })
            let conflicts = try #require(try office.shown(need)).conflicts
            #expect(conflicts.map(\.field) == [.dispatch])
            let others = conflicts.flatMap(\.versions).compactMap(\.value)
            let isTold = others.contains { value in
                guard case .answer(let answer) = value else { return false }
                return answer.verdict == .finished
            }
            #expect(isTold)
        }
    }

    /// The same of a worker whose village a need was moved out of.
    @Test func lateWorkOnANeedThatMovedAwayIsAdmitted() throws {
        try Stage.play { stage in
            let office = try stage.office("office")
            let worker = try stage.worker("worker", in: "v1")
            try stage.settle()
            let backup = try stage.backUpHub()
            let need = try office.record("路灯不亮", in: "g1")
            try stage.settle()
            try office.set(.grid, of: need, to: "g3")
            try office.sync()
            try worker.set(.address, of: need, to: "村口")
            try stage.restoreHub(backup)
            for device in [office, worker] { try device.sync() }
            try stage.settle()
            #expect(try worker.journal.refused().allSatisfy { $0.code != .scope })
            #expect(try office.shown(need)?.address == "村口")
        }
    }

    /// The same without a restore: nothing comes twice.
    @Test func whatIsNotLostIsNotSentAgain() throws {
        try Stage.play { stage in
            let office = try stage.office("office")
            let worker = try stage.worker("worker", in: "v1")
            try worker.sync()
            for number in 0..<100 { _ = try office.record("井盖 \(number)", in: "g1") }
            try office.sync()
            let first = try worker.record("水管冻裂", in: "g1")
            try worker.set(.text, of: first, to: "水管漏水")
            let copy = try worker.clone()
            _ = try copy.record("复制机", in: "g1")
            try copy.sync()
            _ = try worker.record("积雪", in: "g1")
            let isComplete = try worker.pullPage()
            try #require(!isComplete)
            // A restart alone also opens a term.
            try stage.restartHub()
            #expect(try worker.sync() == .complete)
            #expect(try stage.stored(first).fields.allSatisfy { $0.register.versions.count == 1 })
            let writers = Set(
                try stage.ledger.inspectGroups().filter { $0.group.record == first }
                    .map(\.replica))
            #expect(writers.count == 1)
            try stage.settle()
        }
    }
}

extension RestoredHubTests {
    /// The hub is restored together with an older program, which passes over what it does not know.
    @Test func whatAnOlderHubPassesOverIsKept() throws {
        try Stage.play { stage in
            let worker = try stage.worker("worker", in: "v1")
            let office = try stage.office("office")
            let need = try worker.record("路灯不亮", in: "g1")
            try worker.sync()
            try office.sync()
            let backup = try stage.backUpHub()
            _ = try worker.journal.note(need, text: "已联系", clocks: worker.clocks)
            for device in [worker, office] { try device.sync() }
            #expect(try office.journal.notes(of: need).count == 1)

            stage.hub.schema = SimulatedHub.olderSchema
            try stage.restoreHub(backup)
            for device in [worker, office] {
                #expect(try device.sync() == .complete)
                #expect(try device.journal.notes(of: need).isEmpty)
                let kept = try device.journal.refused()
                #expect(kept.map(\.need) == [need])
                #expect(kept.first?.isNotTakenBack == true)
                #expect(
                    try device.journal.status().notices.map(\.kind)
                        == [.hubRestored, .notTakenBack])
            }

            stage.hub.schema = .current
            try stage.restartHub()
            let number = try #require(try office.journal.refused().first?.number)
            try office.journal.retry(number, clocks: office.clocks)
            for device in [office, worker] { #expect(try device.sync() == .complete) }
            #expect(try office.journal.refused().isEmpty)
            #expect(try worker.journal.notes(of: need).map(\.text) == ["已联系"])
        }
    }

    /// An outcome of the older program comes again after its upgrade, and is not the last word.
    @Test func aRefusalThatCameTooLateIsOfferedAnew() throws {
        try Stage.play { stage in
            stage.hub.schema = SimulatedHub.olderSchema
            try stage.restartHub()
            let worker = try stage.worker("worker", in: "v1")
            let need = try worker.record("路灯不亮", in: "g1")
            try worker.sync()
            try worker.set(.address, of: need, to: "村口")
            _ = try worker.journal.note(need, text: "已联系", clocks: worker.clocks)
            stage.network = .losesAnswers
            try worker.exchange(batchBytes: Limits.batchBytesMax)

            stage.hub.schema = .current
            try stage.restartHub()
            stage.network = .works
            // The answer that tells of the upgrade speaks of the first command alone.
            try worker.exchange(batchBytes: 1)
            #expect(try worker.sync() == .complete)
            #expect(try worker.journal.refused().isEmpty)
            #expect(try worker.journal.notes(of: need).map(\.isWaiting) == [false])
        }
    }
}

extension RestoredHubTests {
    /// The hub has both, and the office is told; but the need is out of the former team's reach, so
    /// nobody tells the team. Its own work is kept, and the order, which it could not give, is not.
    @Test func whatAFormerTeamCannotWriteIsNotKept() throws {
        try Stage.play { stage in
            let office = try stage.office("office")
            let team = try stage.team("team", of: "t1")
            try office.sync()
            let need = try office.record("路灯不亮", in: "g1")
            try stage.settle()
            let backup = stage.hub.disk.snapshot()
            try office.dispatch(need, to: "t1")
            try stage.settle()
            _ = try team.journal.accept(need, clocks: team.clocks)
            try team.sync()
            try office.dispatch(need, to: "t2")
            try office.sync()
            try stage.restoreHub(backup)
            try stage.settle()
            #expect(try office.shown(need)?.conflicts.map(\.field) == [.dispatch])
            let kept = try team.journal.refused()
            #expect(kept.map { $0.changes.map(\.field) } == [[NeedField.answer.rawValue]])
            #expect(kept.allSatisfy { $0.createdKind == nil })
        }
    }
}

/// The hub is put back to one backup again and again, and everybody syncs in between.
extension RestoredHubTests {
    private static let needCount = 20

    /// What each device said that it brought back, by restore.
    private func brought(_ devices: [StageDevice]) throws -> [[Int]] {
        try devices.map { device in
            try device.journal.status().notices.filter { $0.kind == .hubRestored }.map(\.amount)
        }
    }

    /// - Parameter isRunning: Whether the hub goes on after the backup in the term that it had, so
    ///   that what everybody pulled in it lies on both sides.
    @Test(arguments: [true, false])
    func theSameBackupAgainCostsWhatItDidBefore(isRunning: Bool) throws {
        try Stage.play { stage in
            let worker = try stage.worker("worker", in: "v1")
            let office = try stage.office("office")
            var needs: [RecordID] = []
            for number in 0..<Self.needCount {
                needs.append(try worker.record("路灯 \(number)", in: "g1"))
            }
            try stage.settle()
            // The backup has one edit, and loses the one over it.
            for need in needs[0..<2] { try worker.set(.address, of: need, to: "村口") }
            try stage.settle()
            let backup = try isRunning ? stage.hub.disk.snapshot() : stage.backUpHub()
            for need in needs[0..<3] { try office.set(.address, of: need, to: "桥头") }
            try stage.settle()
            try worker.set(.address, of: needs[2], to: "井边")
            try office.withdraw(needs[3])
            try stage.settle()

            for count in 1...3 {
                try stage.restoreHub(backup)
                try stage.settle()
                for device in [worker, office] {
                    #expect(try device.journal.needsInConflict().isEmpty, "restore \(count)")
                    #expect(try device.shown(needs[0])?.address == "桥头")
                    #expect(try device.shown(needs[2])?.address == "井边")
                    #expect(try device.shown(needs[3])?.status == .withdrawn)
                    #expect(try device.shown(needs[4])?.status == .recorded)
                }
            }
            #expect(try brought([worker, office]) == [[4, 4, 4], [4, 4, 4]])
        }
    }

    /// What was cut to the first backup is cut to an older one, and is no place in a ledger that
    /// went on beyond it: there may be a conflict too many, as nobody knows any more what of that
    /// had been seen, but nothing is lost.
    @Test func anotherBackupAndTheReplacedLedgerLoseNothing() throws {
        try Stage.play { stage in
            let worker = try stage.worker("worker", in: "v1")
            let office = try stage.office("office")
            let need = try worker.record("路灯不亮", in: "g1")
            try stage.settle()
            let older = stage.hub.disk.snapshot()
            try worker.set(.address, of: need, to: "村口")
            try stage.settle()
            let newer = stage.hub.disk.snapshot()
            try office.set(.address, of: need, to: "桥头")
            try stage.settle()
            let replaced = stage.hub.disk.snapshot()

            for (index, image) in [newer, older, newer, replaced, older].enumerated() {
                try stage.restoreHub(image)
                try stage.settle()
                try worker.set(.phone, of: need, to: "12\(index)")
                try stage.settle()
                for device in [office, worker] {
                    let shown = try device.shown(need)
                    #expect(shown?.address == "桥头" && shown?.phone == "12\(index)")
                    if index < 2 { #expect(shown?.conflicts.isEmpty == true, "\(index)") }
                }
            }
        }
    }
}
