import DeviceJournal
import HubLedger
import NeedModel
import SimulatedDisk
import SyncCore
import Testing

@testable import Simulation

/// Linux forgets what it could not sync, though it is seen as long as the machine runs.
struct FailedSyncTests {
    @Test func whatIsToldAfterAFailedCommandIsDurable() throws {
        try Stage.play { stage in
            let worker = try stage.worker("worker", in: "v1")
            try worker.sync()
            let disk = worker.machine.disk
            var told: Set<RecordID> = []
            var failures = 0
            while failures < 100 {
                disk.failedSyncDropsWrites = true
                disk.failNext(after: failures + 1, with: .ioError)
                if let need = try? worker.record("路灯不亮", in: "g1") {
                    // All steps of a command have failed once.
                    told.insert(need)
                    break
                }
                failures += 1
                worker.machine.stop()
                try worker.machine.open()
                told.insert(try worker.record("井盖丢失", in: "g1"))
                try worker.crash(.powerLost)
                #expect(try Set(worker.journal.needs().map(\.id)) == told)
            }
            disk.cancelFaults()
            #expect((4..<100).contains(failures))
            try stage.settle()
        }
    }

    /// What was said not to be stored does not come back with the power.
    @Test func aFailedCommandStaysAway() throws {
        try Stage.play { stage in
            let worker = try stage.worker("worker", in: "v1")
            try worker.sync()
            let disk = worker.machine.disk
            var told: Set<RecordID> = []
            // How much of what was not synced outlives a power cut is drawn each time.
            for _ in 0..<60 {
                var failures = 0
                while failures < 100 {
                    // The log is not empty then.
                    told.insert(try worker.record("井盖丢失", in: "g1"))
                    disk.failedSyncDropsWrites = false
                    disk.failNext(after: failures + 1, with: .ioError)
                    if let need = try? worker.record("路灯不亮", in: "g1") {
                        told.insert(need)
                        break
                    }
                    failures += 1
                    try worker.crash(.powerLost)
                    #expect(try Set(worker.journal.needs().map(\.id)) == told, "step \(failures)")
                }
                disk.cancelFaults()
                #expect((4..<100).contains(failures))
            }
            try stage.settle()
        }
    }

    /// A copy of the hub's disk may hold a commit that failed just before; what was stored in its
    /// place has other positions, so it is known to be missing there.
    @Test func whatFollowsAFailedCommitOutlivesACopyThatHoldsIt() throws {
        try Stage.play { stage in
            let office = try stage.office("office")
            let worker = try stage.worker("worker", in: "v1")
            let disk = stage.hub.disk
            disk.failedSyncDropsWrites = false
            var failures = 0
            var copiesThatHold = 0
            for step in 1...40 {
                let need = try office.record("路灯不亮", in: "g1")
                try stage.settle()
                let head = try stage.ledger.head()
                // One change each, so that they would take the same place.
                try worker.set(.address, of: need, to: "桥头")
                disk.failNext(after: step, with: .ioError)
                let isAdmitted = (try? worker.sync()) != nil
                disk.cancelFaults()
                if isAdmitted { continue }
                failures += 1
                let copy = disk.snapshot()
                try stage.ledger.dispatch(need, team: "t1", due: nil)
                try office.sync()
                try #require(office.shown(need)?.dispatch != nil)

                try stage.restoreHub(copy)
                if try stage.ledger.head() > head { copiesThatHold += 1 }
                try stage.settle()
                #expect(try office.shown(need)?.dispatch?.team == "t1", "step \(step)")
                #expect(try office.shown(need)?.address == "桥头")
            }
            #expect((2..<40).contains(failures))
            #expect(copiesThatHold > 0)
        }
    }
}
