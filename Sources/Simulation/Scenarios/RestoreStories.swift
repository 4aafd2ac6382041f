import DeviceJournal
import HubLedger
import NeedModel
import SQLiteStore
import SimulatedDisk
import SyncCore
import WireFormat

/// Bugs after the hub was put back to an older backup, or a device's disk altered what it holds.
let restoreStories: [Scenario] = [
    Scenario("restored-server", bug: "cht-core #8093") { stage in
        let worker = try stage.worker("worker", in: "v1")
        let office = try stage.office("office")
        let team = try stage.team("team", of: "t1")
        let old = try worker.record("路灯不亮", in: "g1")
        try stage.settle()
        let backup = try stage.backUpHub()

        // Acknowledged, pulled, and gone from every outbox.
        try worker.set(.address, of: old, to: "村口")
        let new = try worker.record("井盖", in: "g1")
        try stage.settle()
        try office.set(.address, of: old, to: "桥头")
        try office.dispatch(new, to: "t1")
        try stage.settle()
        // Written before the restore, sent after it.
        try worker.set(.phone, of: old, to: "120")
        _ = try team.journal.accept(new, clocks: team.clocks)

        try stage.restoreHub(backup)
        try expect(try stage.storedNeedCount() == 1, "the backup is not older")
        // The worker first: it has not seen what the office did last.
        for device in [worker, team, office] {
            try expect(try device.sync() == .complete, "\(device.name) does not come to rest")
        }
        try stage.settle()
        for device in [worker, office] {
            let shown = try device.shown(old)
            try expect(shown?.address == "桥头", "\(device.name) lost the newest address")
            try expect(shown?.phone == "120", "\(device.name) lost what waited")
            try expect(shown?.conflicts.isEmpty ?? false, "\(device.name) sees a conflict")
        }
        try expect(try office.shown(new)?.status == .accepted, "the team's work is lost")
        for device in [worker, office, team] {
            try expect(
                try device.journal.status().notices.map(\.kind) == [.hubRestored],
                "\(device.name) does not say what happened")
        }
    },

    Scenario("restored-twice", bug: "cht-core #8093, in the middle of the mending") { stage in
        let worker = try stage.worker("worker", in: "v1")
        try worker.sync()
        let backup = try stage.backUpHub()
        for number in 0..<100 { _ = try worker.record("井盖 \(number)", in: "g1") }
        try stage.settle()
        try stage.restoreHub(backup)
        // A few are back; then the backup is put there once more.
        for _ in 0..<4 { try worker.exchange(batchBytes: 400) }
        let count = try stage.storedNeedCount()
        try expect(count > 0 && count < 100, "nothing came back yet, or all at once")
        try stage.restoreHub(backup)
        try stage.settle()
        try expect(try stage.storedNeedCount() == 100, "not all came back")
    },

    Scenario("restored-conflict", bug: "a restore that decides a conflict") { stage in
        let worker = try stage.worker("worker", in: "v1")
        let office = try stage.office("office")
        let need = try worker.record("路灯不亮", in: "g1")
        try stage.settle()
        let backup = try stage.backUpHub()
        // Neither has seen the other's; somebody must decide.
        try worker.set(.address, of: need, to: "村口")
        try office.set(.address, of: need, to: "桥头")
        try stage.settle()
        try stage.restoreHub(backup)
        try stage.settle()
        for device in [worker, office] {
            try expect(
                try device.shown(need)?.conflicts.map(\.field) == [.address],
                "\(device.name) is not asked any more")
        }
    },

    Scenario("restored-undecided", bug: "a restore that decides between two fields") { stage in
        for keepsFirst in [true, false] {
            for isEditFirst in [true, false] {
                try Stage.play {
                    try restoreContested($0, isEditFirst: isEditFirst, keepsFirst: keepsFirst)
                }
            }
            for isAnswerFirst in [true, false] {
                try Stage.play {
                    try restoreLate($0, isAnswerFirst: isAnswerFirst, keepsFirst: keepsFirst)
                }
            }
        }
    },

    Scenario("restored-beside-a-copy", bug: "tailscale #506 and cht-core #8093 at once") { stage in
        for count in 1...5 {
            for hasPulled in [true, false] {
                try Stage.play { try restoreBesideCopy($0, writes: count, hasPulled: hasPulled) }
            }
        }
        for isRefusedFirst in [true, false] {
            try Stage.play { try restoreRefusal($0, isRefusedFirst: isRefusedFirst) }
        }
        try Stage.play(restoreDecided)
        try Stage.play(restoreRefusalAlone)
        try Stage.play(restoreFork)
        try Stage.play(restoreBehindFork)
        try Stage.play(restoreBeforeRefusal)
        for isCopied in [true, false] {
            try Stage.play { try restoreGap($0, isCopied: isCopied) }
        }
        try Stage.play(putBack)
    },

    Scenario("digest-mismatch", bug: "powersync-js #954") { stage in
        let office = try stage.office("office")
        let reader = try stage.worker("reader", in: "v1")
        for number in 0..<200 { _ = try office.record("井盖 \(number)", in: "g1") }
        try stage.settle()
        reader.machine.stop()
        try expect(try reader.machine.alterRecord(Chance(seed: 3)) != nil, "nothing to alter")
        try reader.machine.open()
        _ = try reader.journal.check()
        var fetchedCount = 0
        for _ in 0..<10 {
            let request = try reader.request()
            let answer = try stage.answer(request, to: reader)
            fetchedCount += answer.page?.records.count ?? 0
            try reader.absorb(answer, for: request)
        }
        try expect(fetchedCount <= 3, "\(fetchedCount) records were fetched again for one")
        try expect(try reader.journal.check().isSound, "it is not mended")
        try stage.settle()
    },
]

/// A need is withdrawn, and edited by somebody who had not seen that; the hub loses both, or what
/// came second.
private func restoreContested(_ stage: Stage, isEditFirst: Bool, keepsFirst: Bool) throws {
    let worker = try stage.worker("worker", in: "v1")
    let office = try stage.office("office")
    let need = try worker.record("路灯不亮", in: "g1")
    try stage.settle()
    try office.withdraw(need)
    try worker.set(.address, of: need, to: "村口")
    let order = isEditFirst ? [worker, office] : [office, worker]
    try loseUndecided(order, keepsFirst: keepsFirst, on: stage)
    for device in order {
        try expect(
            try device.shown(need)?.conflicts.map(\.field) == [.withdrawal],
            "\(device.name) is not asked any more (edit first: \(isEditFirst), of which the hub "
                + "keeps one: \(keepsFirst))")
    }
}

/// A team answers an order while the office sends another team; the hub loses both, or what came
/// second.
private func restoreLate(_ stage: Stage, isAnswerFirst: Bool, keepsFirst: Bool) throws {
    let office = try stage.office("office")
    let team = try stage.team("team", of: "t1")
    try office.sync()
    let need = try office.record("路灯不亮", in: "g1")
    try office.dispatch(need, to: "t1")
    try stage.settle()
    try office.dispatch(need, to: "t2")
    _ = try team.journal.accept(need, clocks: team.clocks)
    let order = isAnswerFirst ? [team, office] : [office, team]
    try loseUndecided(order, keepsFirst: keepsFirst, on: stage)
    try expect(
        try office.shown(need)?.conflicts.map(\.field) == [.dispatch],
        "the office is not told any more of the former team's work (which came first: "
            + "\(isAnswerFirst), and the hub keeps it: \(keepsFirst))")
}

/// Two devices tell the hub what they wrote, one after the other, and the hub loses it.
private func loseUndecided(_ devices: [StageDevice], keepsFirst: Bool, on stage: Stage) throws {
    let older = keepsFirst ? nil : try stage.backUpHub()
    try devices[0].sync()
    let backup = try older ?? stage.backUpHub()
    try stage.settle()
    try stage.restoreHub(backup)
    try stage.settle()
}

/// The hub loses three commands of a journal, of which an older copy then uses the counters.
///
/// - Parameters:
///   - writes: How many commands the copy has told when the original comes again.
///   - hasPulled: Whether the original was sent back what it had written before the restore.
private func restoreBesideCopy(_ stage: Stage, writes: Int, hasPulled: Bool) throws {
    let original = try stage.worker("original", in: "v1")
    var needs: [RecordID] = []
    for number in 0...5 { needs.append(try original.record("路灯 \(number)", in: "g1")) }
    try stage.settle()
    let clone = try original.clone()
    let backup = try stage.backUpHub()
    for need in needs[..<3] { try original.set(.address, of: need, to: "村口") }
    if hasPulled { try original.sync() } else { try cutOff(original, on: stage) }
    // Written before it knows of the restore, and after its former ones.
    for need in needs { try original.set(.phone, of: need, to: "120") }
    try stage.restoreHub(backup)
    for need in needs[..<writes] { try clone.set(.phone, of: need, to: "110") }
    try clone.sync()
    for _ in 0..<2 {
        for device in [original, clone] { try device.sync() }
    }
    for (number, need) in needs.enumerated() {
        let shown = try original.shown(need)
        try expect(
            number >= 3 || shown?.address == "村口",
            "\(writes) \(hasPulled): what was acknowledged of need \(number) is gone")
        try expect(
            (shown?.conflicts.map(\.field) ?? []) == (number < writes ? [.phone] : []),
            "\(writes) \(hasPulled): what the two wrote of need \(number) is decided")
    }
    try stage.settle()
}

/// The same with a refused command before or after the one that was decided, whose counters the
/// copy uses, too.
private func restoreRefusal(_ stage: Stage, isRefusedFirst: Bool) throws {
    let original = try stage.worker("original", in: "v1")
    let needs = [try original.record("路灯", in: "g1"), try original.record("井盖", in: "g1")]
    try stage.settle()
    let clone = try original.clone()
    if isRefusedFirst { try original.set(.category, of: needs[1], to: "none") }
    try original.set(.address, of: needs[0], to: "村口")
    if !isRefusedFirst { try original.set(.category, of: needs[1], to: "none") }
    // So that there are some, and another is refused.
    try stage.addCategory("light")
    let backup = try stage.backUpHub()
    try cutOff(original, on: stage)
    try expect(try original.journal.refused().count == 1, "nothing is refused")
    try original.set(.phone, of: needs[0], to: "120")
    try stage.restoreHub(backup)
    for need in needs[..<(isRefusedFirst ? 1 : 2)] { try clone.set(.phone, of: need, to: "110") }
    try clone.sync()
    for _ in 0..<2 {
        for device in [original, clone] { try device.sync() }
    }
    let shown = try original.shown(needs[0])
    try expect(shown?.address == "村口", "what was acknowledged is gone")
    try expect(shown?.conflicts.map(\.field) == [.phone], "what the two wrote is decided")
}

/// Nothing waits when the journal comes again, and what it shows is only what it had been told.
private func restoreDecided(_ stage: Stage) throws {
    let original = try stage.worker("original", in: "v1")
    let need = try original.record("路灯", in: "g1")
    try stage.settle()
    let clone = try original.clone()
    let backup = try stage.backUpHub()
    try original.set(.address, of: need, to: "村口")
    try cutOff(original, on: stage)
    try stage.restoreHub(backup)
    try clone.set(.phone, of: need, to: "110")
    try clone.sync()
    for _ in 0..<2 {
        for device in [original, clone] { try device.sync() }
    }
    try expect(try clone.shown(need)?.address == "村口", "what was acknowledged is gone")
    try expect(try clone.shown(need)?.phone == "110", "what the copy wrote is gone")
}

/// The hub loses nothing but a refusal, which uses no sequence: nothing that was pulled says so.
private func restoreRefusalAlone(_ stage: Stage) throws {
    let original = try stage.worker("original", in: "v1")
    let need = try original.record("路灯", in: "g1")
    try stage.settle()
    let clone = try original.clone()
    try original.set(.category, of: need, to: "none")
    // So that there are some, and another is refused; and so that its term is open.
    try stage.addCategory("light")
    let backup = stage.hub.disk.snapshot()
    try original.sync()
    try expect(try original.journal.refused().count == 1, "nothing is refused")
    try original.set(.phone, of: need, to: "120")
    try stage.restoreHub(backup)
    try clone.set(.phone, of: need, to: "110")
    try clone.sync()
    for _ in 0..<2 {
        for device in [original, clone] { try device.sync() }
    }
    try expect(
        try original.shown(need)?.conflicts.map(\.field) == [.phone],
        "what the two wrote is decided")
}

/// The hub loses what a journal shares with its copy, from which it was told to fork, and an older
/// copy uses those counters before the journal says from what it descends.
private func restoreFork(_ stage: Stage) throws {
    let original = try stage.worker("original", in: "v1")
    let needs = [try original.record("路灯", in: "g1"), try original.record("井盖", in: "g1")]
    try stage.settle()
    let older = try original.clone()
    try original.set(.address, of: needs[1], to: "村口")
    let newer = try original.clone()
    // So that its term is open.
    try stage.addCategory("light")
    let backup = stage.hub.disk.snapshot()
    try cutOff(original, on: stage)
    try newer.set(.address, of: needs[1], to: "桥头")
    try newer.sync()
    try original.set(.phone, of: needs[0], to: "120")
    try cutOff(original, on: stage)
    try expect(try original.journal.status().notices.map(\.kind) == [.forked], "no fork")
    try stage.restoreHub(backup)
    try older.set(.phone, of: needs[0], to: "110")
    try older.sync()
    for _ in 0..<2 {
        for device in [original, older] { try device.sync() }
    }
    try expect(
        try original.shown(needs[0])?.conflicts.map(\.field) == [.phone],
        "what the two wrote is decided")
}

/// A fork is told behind a command that was decided, the pull is cut off, and the hub loses the
/// command and nothing that was pulled.
private func restoreBehindFork(_ stage: Stage) throws {
    let original = try stage.worker("original", in: "v1")
    let need = try original.record("路灯", in: "g1")
    try stage.settle()
    let backup = stage.hub.disk.snapshot()
    try original.set(.phone, of: need, to: "120")
    let clone = try original.clone()
    try clone.set(.address, of: need, to: "桥头")
    try clone.sync()
    try cutOff(original, on: stage)
    try expect(try original.journal.status().notices.map(\.kind) == [.forked], "no fork")
    try expect(try original.journal.waitingGroups() == 0, "not acknowledged")
    try stage.restoreHub(backup)
    try original.sync()
    try expect(try original.shown(need)?.phone == "120", "what was acknowledged is gone")
}

/// What goes out again under a new replica was written before all that the present one wrote, of
/// which a copy sends the hub what it had refused.
private func restoreBeforeRefusal(_ stage: Stage) throws {
    let original = try stage.worker("original", in: "v1")
    let need = try original.record("路灯", in: "g1")
    try stage.settle()
    let backup = stage.hub.disk.snapshot()
    try original.set(.phone, of: need, to: "1")
    let other = try original.clone()
    try stage.addCategory("light")
    try other.set(.address, of: need, to: "桥头")
    try other.sync()
    stage.pass(seconds: 10)
    _ = try original.journal.editNeed(
        need, [FieldEdit(.category, .text("none")), FieldEdit(.phone, .text("2"))],
        clocks: original.clocks)
    try cutOff(original, on: stage)
    try expect(try original.journal.status().notices.map(\.kind) == [.forked], "no fork")
    let copy = try original.clone()
    try cutOff(original, on: stage)
    try expect(try original.journal.refused().count == 1, "nothing is refused")
    // Before there were categories, any was taken.
    try stage.restoreHub(backup)
    for device in [copy, original, copy] { try device.sync() }
    let shown = try copy.shown(need)
    try expect(
        shown?.phone == "2" || shown?.conflicts.map(\.field) == [.phone],
        "what was written first covers what was written after it")
}

/// A command that waits is damaged, and what the journal says of all below it is not what the hub
/// has there.
///
/// - Parameter isCopied: Whether a copy wrote something else, or a disk altered what it says.
private func restoreGap(_ stage: Stage, isCopied: Bool) throws {
    let original = try stage.worker("original", in: "v1")
    let need = try original.record("路灯", in: "g1")
    try stage.settle()
    let clone = try original.clone()
    try stage.addCategory("light")
    let backup = stage.hub.disk.snapshot()
    try original.set(.address, of: need, to: "村口")
    try original.sync()
    for phone in ["119", "120"] { try original.set(.phone, of: need, to: phone) }
    original.machine.stop()
    do {
        let connection = try Connection(
            path: SimulatedDevice.path, mode: .readWrite, busyTimeoutMilliseconds: 0,
            vfs: original.machine.disk.vfsName)
        try connection.run(
            """
            UPDATE outbox SET content = substr(content, 5), chain = chain + ?
            WHERE number = (SELECT min(number) FROM outbox)
            """, .integer(isCopied ? 0 : 1))
    }
    try original.machine.open()
    if isCopied {
        try stage.restoreHub(backup)
        try clone.set(.address, of: need, to: "桥头")
        try clone.sync()
    }
    try original.sync()
    try expect(try original.journal.waitingGroups() == 0, "it waits for ever")
    try expect(try original.journal.refused().count == 1, "what was damaged is not kept")
    try expect(try original.shown(need)?.phone == "120", "what waited behind it is gone")
}

/// The newer ledger had refused what the older one applied, and is put back before that was pulled.
private func putBack(_ stage: Stage) throws {
    let original = try stage.worker("original", in: "v1")
    let need = try original.record("路灯", in: "g1")
    try stage.settle()
    let older = stage.hub.disk.snapshot()
    try stage.addCategory("light")
    try original.set(.category, of: need, to: "none")
    stage.network = .losesAnswers
    try original.exchange(batchBytes: Limits.batchBytesMax)
    stage.network = .works
    let newer = try stage.backUpHub()
    try stage.restoreHub(older)
    try cutOff(original, on: stage)
    try expect(try original.journal.waitingGroups() == 0, "not acknowledged")
    try stage.restoreHub(newer)
    try original.sync()
    try expect(
        try original.journal.refused().count == 1,
        "what was acknowledged is neither applied nor among what was refused")
}

/// One round trip of which the page does not come, as when a pull takes several and is cut off.
private func cutOff(_ device: StageDevice, on stage: Stage) throws {
    let request = try device.request()
    var answer = try stage.answer(request, to: device)
    answer.page = nil
    try device.absorb(answer, for: request)
}
