import Testing

/// What the hub refuses stays on the device, with its reason, until the person decides (rule 11).
@Suite(.lane) struct RefusedTests {
    private struct Early {
        let world: World
        let worker: Device
        let team: Device
        let id: String
    }

    /// A grade that comes too early: one of the team's two devices finishes the job, the other,
    /// offline, gives it back later, and the worker grades what it last saw.
    private func earlyGrade() async throws -> Early {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let team = try await world.enrolled("team", .team)
        let second = try await world.enrolled("second", .team)
        let id = try await worker.add("缺路灯", "--category", "lighting")
        try await worker.sync()
        for device in [team, second] { try await device.sync() }
        try await team.run("job", "accept", id)
        try await team.run("job", "finish", id, "--result", "装好了")
        try await team.sync()
        try await worker.sync()
        try await second.run("job", "decline", id, "--reason", "没有材料")
        try await second.sync()
        try await worker.run("need", "rate", id, "--grade", "4", "--comment", "很好")
        try await worker.sync(exits: 65)
        return Early(world: world, worker: worker, team: team, id: id)
    }

    @Test func refusedGradeIsListedWithItsReason() async throws {
        let early = try await earlyGrade()
        let refused = try await early.worker.refused()
        #expect(refused.map { $0["code"].text } == ["not-finished"])
        #expect(refused[0]["field"].text == "rating")
        #expect(refused[0]["need"].text == early.id)
        #expect(refused[0]["changes"]["rating"]["comment"].text == "很好")
        #expect(try await early.worker.need(early.id)["rating"] == .null)
    }

    @Test func operatorSeesHowManyWereRefused() async throws {
        let early = try await earlyGrade()
        let devices = try await early.world.admin("devices", "--json").json().elements
        let worker = devices.first { $0["name"].text == "worker" }
        #expect(worker?["refused"].integer == 1)
    }

    @Test func retryAfterTheCauseIsGoneIsTaken() async throws {
        let early = try await earlyGrade()
        try await early.team.sync()
        try await early.team.run("conflict", "settle", early.id, "answer", "--keep", "other")
        try await early.team.sync()
        try await early.worker.sync()
        try await early.worker.run("refused", "retry", "1")
        try await early.worker.sync()
        #expect(try await early.worker.refused() == [])
        #expect(try await early.worker.need(early.id)["rating"]["grade"].integer == 4)
        #expect(try await early.world.needs().map { $0["grade"].integer } == [4])
    }

    @Test func retryBeforeIsRefusedAgain() async throws {
        let early = try await earlyGrade()
        try await early.worker.run("refused", "retry", "1")
        try await early.worker.sync(exits: 65)
        #expect(try await early.worker.refused().count == 1)
    }

    @Test func droppedIsForgotten() async throws {
        let early = try await earlyGrade()
        try await early.worker.run("refused", "drop", "1")
        #expect(try await early.worker.refused() == [])
        try await early.worker.sync()
        #expect(try await early.world.needs().map { $0["grade"] } == [.null])
    }

    /// A machine that goes to the team while a worker's needs wait in it.
    private func handedOver() async throws -> (World, Device) {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        try await world.stop()
        let id = try await device.add("门口积水", "--address", "3号楼")
        try await device.run("note", id, "很急")
        _ = try await device.add("缺路灯")
        try await world.restart()
        let code = try await world.invite(.team, name: "device")
        try await device.enroll(world.url, code, exits: 65)
        return (world, device)
    }

    @Test func needOfAnotherRoleIsRefusedAndKept() async throws {
        let (_, device) = try await handedOver()
        let refused = try await device.refused()
        #expect(refused.map { $0["code"].text } == ["role", "depends", "role"])
        #expect(refused.map { $0["changes"]["text"].text } == ["门口积水", "很急", "缺路灯"])
        #expect(try await device.needs() == [])
    }

    @Test func everythingRefusedIsTakenFromTheRightRole() async throws {
        let (world, device) = try await handedOver()
        try await device.enroll(world.url, world.invite(.worker, name: "device"))
        for group in try await device.refused() where group["code"].text == "role" {
            guard let number = group["number"].integer else { throw Surprise("no number") }
            try await device.run("refused", "retry", "\(number)")
        }
        try await device.sync()
        let needs = try await device.needs()
        #expect(Set(needs.map { $0["text"].text }) == ["门口积水", "缺路灯"])
        let wet = needs.first { $0["text"].text == "门口积水" }
        let shown = try await device.need(wet?["id"].text ?? "")
        #expect(shown["notes"].elements.map { $0["text"].text } == ["很急"])
        #expect(try await world.needs().count == 2)
        #expect(try await device.refused() == [])
    }

    @Test func retryCanReplaceAValue() async throws {
        let (world, device) = try await handedOver()
        try await device.enroll(world.url, world.invite(.worker, name: "device"))
        try await device.run("refused", "retry", "1", "address=4号楼", "phone=13800000001")
        try await device.sync()
        let need = try await device.needs().first { $0["text"].text == "门口积水" }
        #expect(need?["address"].text == "4号楼")
        #expect(need?["phone"].text == "13800000001")
    }

    @Test func showTellsWhatWasWritten() async throws {
        let (_, device) = try await handedOver()
        let shown = try await device.run("refused", "show", "1").stdout
        for text in ["门口积水", "3号楼", "your role may not write this"] {
            #expect(shown.contains(text))
        }
    }

    @Test(arguments: [["show", "9"], ["retry", "9"], ["drop", "9"]])
    func unknownNumber(arguments: [String]) async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        let outcome = try await device.start(["refused"] + arguments).end().expect(1)
        #expect(outcome.stderr.contains("refused list"))
    }
}
