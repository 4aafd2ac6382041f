import Testing

/// Two people change one field while both are offline (DESIGN.md §4 rule 4).
@Suite(.lane) struct ConflictTests {
    private struct Dispute {
        let world: World
        let worker: Device
        let office: Device
        let id: String
    }

    /// The worker writes `first`, the office later `second`; both have seen both afterwards.
    private func dispute(
        field: String = "address", first: String = "一", second: String = "二"
    ) async throws -> Dispute {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let office = try await world.enrolled("office", .office)
        let id = try await worker.add("门口积水")
        try await worker.sync()
        try await office.sync()
        try await worker.run("need", "edit", id, "\(field)=\(first)")
        try await office.run("need", "edit", id, "\(field)=\(second)")
        try await worker.sync()
        try await office.sync()
        try await worker.sync()
        return Dispute(world: world, worker: worker, office: office, id: id)
    }

    @Test func bothSidesAndTheOperatorSeeBothVersions() async throws {
        let dispute = try await dispute()
        for device in [dispute.worker, dispute.office] {
            let conflicts = try await device.conflicts()
            #expect(conflicts.map { $0["field"].text } == ["address"])
            let versions = conflicts[0]["versions"].elements
            #expect(versions.map { $0["value"].text } == ["二", "一"])
            #expect(versions.map { $0["by"].text } == ["office", "worker"])
            #expect(versions.map { $0["shown"].isTrue } == [true, false])
        }
        let seen = try await dispute.world.admin("conflict", "list", "--json").json()
        #expect(seen[0]["versions"].elements.map { $0["value"].text } == ["二", "一"])
    }

    @Test(arguments: [
        (["--keep", "shown"], "二"), (["--keep", "other"], "一"), (["--keep", "1"], "二"),
        (["--keep", "2"], "一"), (["--value", "三"], "三"),
    ])
    func settlingEndsItEverywhere(choice: [String], expected: String) async throws {
        let dispute = try await dispute()
        try await dispute.office.start(
            ["conflict", "settle", dispute.id, "address"] + choice
        ).end().expect(0)
        try await dispute.office.sync()
        let news = try await dispute.worker.sync().stdout
        #expect(news.contains("1 conflict settled"))
        for device in [dispute.worker, dispute.office] {
            #expect(try await device.conflicts() == [])
            #expect(try await device.need(dispute.id)["address"].text == expected)
        }
        #expect(try await dispute.world.admin("conflict", "list", "--json").json() == .list([]))
    }

    /// Keeping what is shown is a change too: it has seen the other version.
    @Test func settlingWithTheShownValueIsSent() async throws {
        let dispute = try await dispute()
        try await dispute.worker.run(
            "conflict", "settle", dispute.id, "address", "--keep", "shown")
        #expect(try await dispute.worker.waiting() == 1)
    }

    @Test func equalValuesAreNoConflict() async throws {
        let dispute = try await dispute(first: "同", second: "同")
        #expect(try await dispute.worker.conflicts() == [])
    }

    @Test func differentFieldsAreNoConflict() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let office = try await world.enrolled("office", .office)
        let id = try await worker.add("门口积水")
        try await worker.sync()
        try await office.sync()
        try await worker.run("need", "edit", id, "phone=1")
        try await office.run("need", "edit", id, "address=二")
        try await worker.sync()
        try await office.sync()
        try await worker.sync()
        for device in [worker, office] {
            let need = try await device.need(id)
            #expect(need["phone"].text == "1" && need["address"].text == "二")
            #expect(try await device.conflicts() == [])
        }
    }

    /// Two settle at once: that is a new conflict, and settling it ends it.
    @Test func settledTwiceCanBeSettledAgain() async throws {
        let dispute = try await dispute()
        try await dispute.worker.run(
            "conflict", "settle", dispute.id, "address", "--value", "三")
        try await dispute.office.run(
            "conflict", "settle", dispute.id, "address", "--value", "四")
        for device in [dispute.worker, dispute.office, dispute.worker] { try await device.sync() }
        #expect(try await dispute.worker.conflicts().count == 1)
        try await dispute.worker.run(
            "conflict", "settle", dispute.id, "address", "--keep", "other")
        try await dispute.worker.sync()
        try await dispute.office.sync()
        for device in [dispute.worker, dispute.office] {
            #expect(try await device.conflicts() == [])
            #expect(try await device.need(dispute.id)["address"].text == "三")
        }
    }

    private static let wrongSettlings: [([String], Int)] = [
        (["address"], 64), (["address", "--keep", "shown", "--value", "x"], 64),
        (["address", "--keep", "best"], 64), (["colour", "--keep", "shown"], 64),
        (["address", "--keep", "9"], 1), (["phone", "--keep", "shown"], 1),
    ]

    @Test func wrongSettlingChangesNothing() async throws {
        let dispute = try await dispute()
        for (arguments, code) in Self.wrongSettlings {
            let outcome = try await dispute.worker.start(
                ["conflict", "settle", dispute.id] + arguments
            ).end()
            #expect(outcome.code == code, "\(outcome)")
            #expect(outcome.output.isEmpty && !outcome.errors.isEmpty)
        }
        #expect(try await dispute.worker.waiting() == 0)
    }

    // MARK: A withdrawal against an edit (rule 8)

    /// The worker withdraws the need, which the office edits without having seen that.
    private func contested() async throws -> Dispute {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let office = try await world.enrolled("office", .office)
        let id = try await worker.add("门口积水")
        try await worker.sync()
        try await office.sync()
        try await worker.run("need", "withdraw", id, "--reason", "重复")
        try await office.run("need", "edit", id, "address=二")
        try await worker.sync()
        try await office.sync()
        try await worker.sync()
        return Dispute(world: world, worker: worker, office: office, id: id)
    }

    @Test func editThatTheWithdrawalDidNotSeeIsShown() async throws {
        let dispute = try await contested()
        for device in [dispute.worker, dispute.office] {
            let conflicts = try await device.conflicts()
            #expect(conflicts.map { $0["field"].text } == ["withdrawal"])
            #expect(conflicts.map { $0["contested_withdrawal"].isTrue } == [true])
        }
        let seen = try await dispute.world.admin("conflict", "list", "--json").json()
        #expect(seen[0]["contested"] == .list([.text("address")]))
    }

    @Test func withdrawalCanBeUpheld() async throws {
        let dispute = try await contested()
        try await dispute.office.run(
            "conflict", "settle", dispute.id, "withdrawal", "--keep", "shown")
        try await dispute.office.sync()
        try await dispute.worker.sync()
        for device in [dispute.worker, dispute.office] {
            #expect(try await device.conflicts() == [])
            #expect(try await device.needs() == [])
        }
    }

    @Test func withdrawalCanBeLifted() async throws {
        let dispute = try await contested()
        try await dispute.office.run(
            "conflict", "settle", dispute.id, "withdrawal", "--keep", "other")
        try await dispute.office.sync()
        try await dispute.worker.sync()
        for device in [dispute.worker, dispute.office] {
            #expect(try await device.conflicts() == [])
            #expect(try await device.needs().map { $0["address"].text } == ["二"])
        }
    }
}
