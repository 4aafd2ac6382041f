import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// One need and everybody who writes to it, through a random life and the restores in it.
private final class RestoredLife {
    private static let contents: [NeedField] = [.address, .phone]
    private static let verdicts: [FieldValue.Verdict] = [.accepted, .finished, .declined]

    let hub: TestHub
    /// Two offices, of whom each has pulled as much as it happens to, and two workers.
    private let offices: [TestDevice]
    private let workers: [TestDevice]
    let need: RecordID
    private var orders: [UInt64] = []
    var random: SplitMix64

    var devices: [TestDevice] { offices + workers }

    init(_ random: SplitMix64) throws {
        hub = try TestHub.withCrew(seed: 61)
        self.random = random
        offices = [try hub.office("b"), try hub.office("b", name: "二")]
        workers = [try hub.worker("v1"), try hub.worker("v1", name: "三")]
        for device in offices + workers {
            device.skipsCoding()
            try device.sync()
        }
        need = workers[0].addNeed("旧")
        try workers[0].sync()
        for device in offices + workers { try device.sync() }
    }

    func sync(_ device: TestDevice, at hub: TestHub) throws {
        for _ in 0..<50 {
            let request = device.request()
            let answer = try hub.sync(device, request)
            try device.absorb(answer, of: request)
            if let outcomes = answer.outcomes,
                (outcomes.forkCounter ?? outcomes.expectedCounter) != nil
            {
                device.fork(from: 1)
            } else if answer.page?.cursor != nil, device.waiting.isEmpty {
                return
            }
        }
        throw PropertyFailure(description: "the sync does not end")
    }

    /// - Parameter copy: Where the hub is backed up in the midst of it.
    func go(on hub: TestHub, steps: Int, copy: String) throws {
        let backup = random.below(steps)
        for step in 0..<steps {
            if step == backup { try hub.ledger.backup(to: hub.scratch.path(copy)) }
            hub.time.now += Int64(random.below(3))
            let device = devices[random.below(devices.count)]
            if random.oneIn(3) { try sync(device, at: hub) }
            write(by: device, "\(copy) \(step)")
            if random.oneIn(2) { try sync(device, at: hub) }
        }
    }

    private func write(by device: TestDevice, _ text: String) {
        guard let held = device.state[need] else { return }
        let isOffice = offices.contains { $0 === device }
        switch random.below(10) {
        case 0, 1:
            device.edit(need, Self.contents[random.below(2)], .text(text))
        case 2: device.edit(need, .withdrawal, .withdrawal(reason: text))
        case 3: device.edit(need, .withdrawal, nil)
        case 4, 5:
            guard isOffice else { return }
            orders.append(device.dispatch(need, to: random.oneIn(2) ? "A" : "B"))
        case 6:
            guard isOffice, let former = orders.randomElement(using: &random) else { return }
            device.dispatch(need, to: "A", order: former)
        case 7 where random.oneIn(3):
            if isOffice { device.edit(need, random.oneIn(2) ? .dispatch : .answer, nil) }
        default:
            guard case .dispatch(let current)? = held.winner(.dispatch) else { return }
            if random.oneIn(3) {
                device.rate(need, current.order, grade: 1 + random.below(5))
            } else {
                device.answer(need, current.order, Self.verdicts[random.below(3)], text)
            }
        }
    }

    /// Everybody brings back what they hold, in any order.
    ///
    /// - Parameter goOn: Whether they then end their recoveries, and send what waits.
    func bringBack(to copy: TestHub, goOn: Bool) throws {
        for device in devices.shuffled(using: &random) {
            guard try copy.sync(device, device.request(groups: [])).recovered != nil else {
                continue
            }
            let confirmed = try device.bring(to: copy)
            if goOn {
                try device.endRecovery(at: copy, confirmed: confirmed)
                device.fork(from: 1)
                if random.oneIn(2) { try sync(device, at: copy) }
            }
        }
    }

    /// What was live is, with more beside it at most; nobody is asked less; the figures stand.
    func compare(_ before: StoredRecord, _ after: StoredRecord) throws {
        func writes(_ versions: [Version]) -> Set<BroughtWrite> {
            Set(versions.map(BroughtWrite.init))
        }
        for (field, register) in before.state.fields where field != LateAnswers.field {
            let now = after.state[field]
            try check(
                register.winner.map(BroughtWrite.init) == now.winner.map(BroughtWrite.init),
                "another winner of field \(field)")
            try check(
                writes(register.versions).isSubset(of: writes(now.versions)),
                "less is live of field \(field)")
        }
        try check(
            writes(before.lateAnswers.map(\.version))
                .isSubset(of: writes(after.lateAnswers.map(\.version))), "late answers are gone")
        try check(
            Set(before.contestedFields).isSubset(of: after.contestedFields),
            "the delete contests \(after.contestedFields), not \(before.contestedFields)")
        try check(
            Set(before.conflictingFields).isSubset(of: after.conflictingFields),
            "\(after.conflictingFields) in conflict, not \(before.conflictingFields)")
        try check(before.progress.status == after.progress.status, "another status")
    }

    /// A version, whatever name the hub lent it.
    private struct BroughtWrite: Hashable {
        let value: [UInt8]?
        let stamp: Int64

        init(_ version: Version) {
            value = version.value
            stamp = version.stamp.milliseconds
        }
    }
}

/// What somebody had to decide before a restore they have to decide after it, and where the need
/// stood it stands.
@Suite struct RestoredNeedTests {
    @Test func oneRestore() {
        forEachSeed(60) { random in
            let life = try RestoredLife(random)
            try life.go(on: life.hub, steps: 6 + life.random.below(12), copy: "copy")
            for device in life.devices { try life.sync(device, at: life.hub) }
            try life.sync(life.devices[0], at: life.hub)
            let before = try #require(try life.hub.record(life.need))
            let copy = try life.hub.opening("copy", seed: 5)
            try life.bringBack(to: copy, goOn: false)
            try life.compare(before, #require(try copy.record(life.need)))
        }
    }

    @Test func twoRestores() {
        forEachSeed(60) { random in
            let life = try RestoredLife(random)
            try life.go(on: life.hub, steps: 6 + life.random.below(12), copy: "copy")
            try life.sync(life.devices[0], at: life.hub)
            let copy = try life.hub.opening("copy", seed: 5)
            try life.bringBack(to: copy, goOn: true)
            try life.go(on: copy, steps: 3 + life.random.below(8), copy: "second")
            for device in life.devices { try life.sync(device, at: copy) }
            try life.sync(life.devices[0], at: copy)
            let before = try #require(try copy.record(life.need))
            let second = try life.hub.opening("second", seed: 6)
            try life.bringBack(to: second, goOn: false)
            try life.compare(before, #require(try second.record(life.need)))
        }
    }
}
