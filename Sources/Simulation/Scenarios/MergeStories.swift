import DeviceJournal
import HubLedger
import NeedModel
import SyncCore

/// Bugs in deciding between writers, and in the clocks that decide.
let mergeStories: [Scenario] = [
    Scenario("equal-values-third-node", bug: "cr-sqlite #413") { stage in
        let first = try stage.worker("first", in: "v1")
        let second = try stage.worker("second", in: "v1")
        let office = try stage.office("office")
        let need = try first.record("路灯不亮", in: "g1")
        for device in [first, second, office] { try device.sync() }

        stage.pass(seconds: 60)
        try first.set(.phone, of: need, to: "110")
        try second.set(.phone, of: need, to: "110")
        try first.sync()
        try office.sync()
        // The office has seen the first of the two equal values, and never the second.
        stage.pass(seconds: 60)
        try second.sync()
        try office.set(.phone, of: need, to: "120")
        let newcomer = try stage.worker("newcomer", in: "v1")
        try stage.settle()

        for device in [first, second, office, newcomer] {
            let phone = try device.shown(need)?.field(.phone)
            try expect(
                phone?.versions.map(\.value) == [Array("120".utf8), Array("110".utf8)],
                "\(device.name) does not know of both phones")
        }
    },

    Scenario("relayed-tie", bug: "cr-sqlite #30") { _ in
        /// Two people write in the same millisecond; everybody else gets it by way of the hub.
        func shownPhones(firstArrives: Bool) throws -> [String?] {
            try Stage.play { stage in
                let first = try stage.worker("first", in: "v1")
                let second = try stage.worker("second", in: "v1")
                let need = try first.record("路灯不亮", in: "g1")
                try first.sync()
                try second.sync()
                stage.pass(seconds: 60)
                try first.set(.phone, of: need, to: "110")
                try second.set(.phone, of: need, to: "120")
                stage.pass(seconds: 60)
                for device in firstArrives ? [first, second] : [second, first] {
                    try device.sync()
                }
                let third = try stage.office("third")
                try stage.settle()
                let phone = try stage.stored(need).fields.first {
                    $0.field == NeedField.phone.rawValue
                }
                let stamps = phone?.register.versions.map(\.stamp.milliseconds) ?? []
                try expect(stamps.count == 2 && Set(stamps).count == 1, "there is no tie")
                return try [first, second, third].map { try $0.shown(need)?.phone }
            }
        }
        let shown =
            try shownPhones(firstArrives: true) + shownPhones(firstArrives: false)
        try expect(Set(shown).count == 1, "a tie goes by who came first: \(shown)")
    },

    Scenario("delete-and-reinsert", bug: "cr-sqlite #299") { _ in
        /// What all agree on in the end.
        func outcome(arriving order: [Int]) throws -> String {
            try Stage.play { stage in
                let first = try stage.worker("first", in: "v1")
                let second = try stage.worker("second", in: "v1")
                let office = try stage.office("office")
                let need = try first.record("路灯不亮", in: "g1")
                for device in [first, second, office] { try device.sync() }
                stage.pass(seconds: 60)
                try first.withdraw(need)
                stage.pass(seconds: 60)
                try second.set(.phone, of: need, to: "120")
                stage.pass(seconds: 60)
                try office.withdraw(need)
                try office.bringBack(need)
                try office.set(.address, of: need, to: "村口")
                for index in order { try [first, second, office][index].sync() }
                try stage.settle()
                guard let shown = try office.shown(need) else { return "gone" }
                return "\(shown.status) \(shown.phone ?? "") \(shown.address ?? "") "
                    + "\(shown.conflicts.map(\.field)) \(shown.record.contested)"
            }
        }
        let outcomes = try [
            [0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0],
        ].map { try outcome(arriving: $0) }
        try expect(Set(outcomes).count == 1, "the order of arrival counts: \(outcomes)")
        try expect(
            outcomes[0].hasPrefix("\(NeedStatus.recorded) 120 村口"),
            "what came back is not whole: \(outcomes[0])")
    },

    Scenario("device-in-2038", bug: "actual #7106") { stage in
        let wrong = try stage.worker("wrong", in: "v1")
        let right = try stage.worker("right", in: "v1")
        let other = try stage.worker("other", in: "v1")
        let need = try right.record("路灯不亮", in: "g1")
        try stage.settle()

        // Twelve years ahead, and nothing left of the boot in which it was written.
        wrong.machine.wallOffset = 378_000_000_000
        wrong.machine.reboot(now: stage.now)
        stage.pass(seconds: 60)
        try wrong.set(.phone, of: need, to: "2038")
        wrong.machine.reboot(now: stage.now)
        try wrong.sync()
        stage.pass(seconds: 60)
        try other.set(.phone, of: need, to: "120")  // Has not seen it.
        try right.sync()
        try right.set(.address, of: need, to: "村口")
        try stage.settle()

        for device in [wrong, right, other] {
            let shown = try device.shown(need)
            try expect(shown?.phone == "120", "\(device.name) is stuck in 2038")
            try expect(shown?.address == "村口", "\(device.name) lost a later change")
        }
    },

    Scenario("one-clock-tick", bug: "actual #8706") { stage in
        let first = try stage.worker("first", in: "v1")
        let second = try stage.worker("second", in: "v1")
        let need = try first.record("路灯不亮", in: "g1")
        try stage.settle()
        // Time stands still. Several hundred at once, then in turns.
        for number in 0..<300 { try first.set(.phone, of: need, to: "\(number)") }
        try first.sync()
        for number in 300..<400 {
            let device = number.isMultiple(of: 2) ? second : first
            try device.sync()
            try device.set(.phone, of: need, to: "\(number)")
            try device.sync()
        }
        try stage.settle()
        try expect(try first.shown(need)?.phone == "399", "the last is not shown")
        let phone = NeedField.phone.rawValue
        let stamps = try stage.ledger.inspectGroups()
            .filter { $0.group.record == need && $0.group.changes.map(\.field) == [phone] }
            .flatMap(\.stamps)
        try expect(stamps.count == 400, "\(stamps.count) of 400 were admitted")
        try expect(
            zip(stamps, stamps.dropFirst()).allSatisfy { $0 < $1 },
            "a change is not later than the one that it replaced")
    },
]
