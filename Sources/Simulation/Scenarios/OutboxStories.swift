import DeviceJournal
import HubLedger
import NeedModel
import SimulatedDisk
import SyncCore

/// Bugs in what becomes of a person's work on its way up.
let outboxStories: [Scenario] = [
    Scenario("upload-after-partition", bug: "powersync.dart #307") { stage in
        let worker = try stage.worker("worker", in: "v1")
        try worker.sync()
        for number in 0..<30 { _ = try worker.record("井盖 \(number)", in: "g1") }
        for network in [Stage.Network.losesAnswers, .losesRequests, .losesAnswers] {
            stage.network = network
            try expect(try worker.sync(batchBytes: 300) == .gaveUp, "the network works")
            _ = try worker.record("路灯", in: "g1")
        }
        stage.network = .works
        try expect(try worker.sync(batchBytes: 300) == .complete, "the queue does not empty")
        try expect(try worker.journal.waitingGroups() == 0, "something still waits")
        try expect(try stage.storedNeedCount() == 33, "not each command came once")
        try stage.settle()
    },

    Scenario("seven-malformed", bug: "engram #503") { stage in
        let worker = try stage.worker("worker", in: "v1")
        try worker.sync()
        // This device has not heard yet that there are categories.
        try stage.addCategory("light")
        for number in 1...3_300 {
            _ = try worker.record(
                "井盖 \(number)", in: "g1", category: number.isMultiple(of: 471) ? "none" : nil)
        }
        try expect(try worker.sync() == .complete, "seven hold up all others")
        try expect(try stage.storedNeedCount() == 3_293, "not all others were admitted")
        let refused = try worker.journal.refused()
        try expect(
            refused.map(\.code) == Array(repeating: .unknownCategory, count: 7),
            "\(refused.count) are refused")
        _ = try worker.record("路灯", in: "g1")
        try stage.settle()
    },

    Scenario("refusal-keeps-the-work", bug: "waves #671") { stage in
        let worker = try stage.worker("worker", in: "v1")
        try worker.sync()
        try stage.addCategory("light")
        let need = try worker.record("路灯不亮", in: "g1", category: "none")
        try worker.set(.phone, of: need, to: "110")
        try worker.sync()
        try worker.crash(.powerLost)

        let refused = try worker.journal.refused()
        try expect(refused.map(\.code) == [.unknownCategory, .depends], "not both are kept")
        try expect(
            refused.first?.changes.contains { $0.value == Array("路灯不亮".utf8) } ?? false,
            "what the person wrote is gone")
        guard let number = refused.first?.number else { return }
        try worker.journal.retry(
            number, replacing: [FieldEdit(.category, .text("light"))], clocks: worker.clocks)
        try stage.settle()
        let shown = try worker.shown(need)
        try expect(
            shown?.text == "路灯不亮" && shown?.phone == "110", "the work was not done anew")
    },

    Scenario("cloned-image", bug: "tailscale #506") { stage in
        let original = try stage.worker("original", in: "v1")
        try original.sync()
        for number in 0..<2 { _ = try original.record("井盖 \(number)", in: "g1") }
        let clone = try original.clone()
        _ = try original.record("路灯", in: "g1")
        stage.pass(seconds: 1)
        _ = try clone.record("水管", in: "g2")
        for _ in 0..<3 {
            for device in [original, clone] {
                try expect(try device.sync() == .complete, "the two fight")
            }
        }
        try expect(try stage.storedNeedCount() == 4, "a copy's command was lost")
        for device in [original, clone] {
            try expect(try device.journal.refused().isEmpty, "\(device.name): refused")
            try expect(try device.journal.status().needs == 4, "\(device.name) lacks needs")
        }
        try expect(
            try original.journal.replica() != clone.journal.replica(), "two write as one")
        try stage.settle()
        // A copy of one that has written nothing is told once.
        try Stage.play { stage in
            let original = try stage.worker("original", in: "v1")
            try original.sync()
            let clone = try original.clone()
            _ = try clone.record("路灯", in: "g1")
            try clone.sync()
            for _ in 0..<3 { try original.sync() }
            try expect(
                try original.journal.status().notices.map(\.kind) == [.forked], "told otherwise")
        }
    },
]
