import Testing

/// A need recorded without signal reaches the centre, and the job comes back.
@Suite(.lane) struct MainJobTests {
    @Test func needRecordedOfflineIsDispatchedDoneAndRated() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let team = try await world.enrolled("team", .team)
        let office = try await world.enrolled("office", .office)
        try await world.stop()
        let id = try await worker.add(
            "自来水管冻裂", "--category", "water", "--resident", "王秀英", "--phone", "13800000003")
        try await worker.sync(exits: 69)
        try await world.restart()
        try await worker.sync()
        try await office.sync()
        #expect(try await office.status(of: id) == "recorded")
        try await office.run("dispatch", id, "--team", "水电维修", "--due", "2099-12-31")
        try await office.sync()
        try await team.sync()
        #expect(try await team.jobs().map { $0["id"].text } == [id])
        try await team.run("job", "accept", id)
        try await team.run("job", "start", id)
        try await team.run("job", "finish", id, "--result", "已修好")
        try await team.sync()
        try await worker.sync()
        #expect(try await worker.status(of: id) == "finished")
        try await worker.run("need", "rate", id, "--grade", "5", "--comment", "谢谢")
        try await worker.sync()
        for device in [office, team] {
            try await device.sync()
            let need = try await device.need(id)
            #expect(need["status"].text == "rated")
            #expect(need["rating"] == .object(["grade": .number(5), "comment": .text("谢谢")]))
            #expect(need["answer"]["text"].text == "已修好")
        }
    }

    @Test func routeDispatchesOnAdmission() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let team = try await world.enrolled("team", .team)
        let id = try await worker.add("小区里缺路灯", "--category", "lighting")
        let said = try await worker.sync().stdout
        #expect(said == "1 sent, 1 need dispatched\n")
        try await team.sync()
        let job = try await team.need(id)
        #expect(job["status"].text == "dispatched")
        #expect(job["dispatch"]["team"].text == "T01")
        #expect(job["dispatch"]["due"].text != nil)
    }

    @Test func operatorDispatchReachesTheTeam() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let team = try await world.enrolled("team", .team)
        let id = try await worker.add("水管坏了")
        try await worker.sync()
        try await world.admin("dispatch", String(id.suffix(4)), "--team", "T01")
        #expect(try await team.sync().stdout == "1 new job\n")
        #expect(try await team.status(of: id) == "dispatched")
    }

    @Test func everyFieldArrivesAsItWasRecorded() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let office = try await world.enrolled("office", .office)
        let id = try await worker.add(
            "门口积水", "--category", "供水排水", "--resident", "王秀英", "--phone", "13800000001",
            "--address", "3号楼2单元", "--urgency", "3", "--at", "40.65,-109.84",
            grid: "幸福社区第二网格")
        try await worker.sync()
        try await office.sync()
        let need = try await office.need(id)
        let expected: [String: JSON] = [
            "text": .text("门口积水"), "category": .text("water"),
            "category_name": .text("供水排水"), "grid": .text("152921100001002"),
            "grid_name": .text("幸福社区第二网格"), "resident": .text("王秀英"),
            "phone": .text("13800000001"), "address": .text("3号楼2单元"),
            "urgency": .number(3), "location": .text("40.65,-109.84"),
            "recorded_by": .text("worker"),
        ]
        for (name, value) in expected { #expect(need[name] == value, "\(name)") }
    }

    /// Field names on the command line are those of the JSON.
    @Test func editOfEachFieldArrives() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let office = try await world.enrolled("office", .office)
        let id = try await worker.add("门口积水")
        try await worker.sync()
        let values = [
            "text": "门口还有积水", "category": "elderly", "grid": "152921100001002",
            "resident": "李建国", "phone": "13900000000", "address": "5号楼",
            "location": "40.1,109.2",
        ]
        for (field, value) in values {
            try await worker.run("need", "edit", id, "\(field)=\(value)")
        }
        try await worker.sync()
        try await office.sync()
        let need = try await office.need(id)
        for (field, value) in values { #expect(need[field].text == value, "\(field)") }
    }

    @Test func emptyValueClears() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let office = try await world.enrolled("office", .office)
        let id = try await worker.add("门口积水", "--phone", "13800000001")
        try await worker.sync()
        try await worker.run("need", "edit", id, "phone=")
        try await worker.sync()
        try await office.sync()
        #expect(try await office.need(id)["phone"] == .null)
    }

    @Test func notesGoBothWays() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let team = try await world.enrolled("team", .team)
        let id = try await worker.add("缺路灯", "--category", "lighting")
        try await worker.run("note", id, "晚上有人摔倒")
        try await worker.sync()
        try await team.sync()
        try await team.run("note", id, "明天去看")
        try await team.sync()
        try await worker.sync()
        for device in [worker, team] {
            let notes = try await device.need(id)["notes"].elements
            #expect(notes.map { $0["text"].text } == ["晚上有人摔倒", "明天去看"])
            #expect(notes.map { $0["recorded_by"].text } == ["worker", "team"])
        }
    }

    @Test func withdrawalHidesTheNeedEverywhere() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let team = try await world.enrolled("team", .team)
        let id = try await worker.add("缺路灯", "--category", "lighting")
        try await worker.sync()
        try await team.sync()
        try await worker.run("need", "withdraw", id, "--reason", "重复登记")
        try await worker.sync()
        #expect(try await team.sync().stdout == "1 withdrawn\n")
        #expect(try await worker.needs() == [])
        #expect(try await team.jobs() == [])
        let withdrawn = try await worker.needs("--status", "withdrawn")
        #expect(withdrawn.map { $0["withdrawal"].text } == ["重复登记"])
    }

    @Test func undoBringsTheNeedBack() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let team = try await world.enrolled("team", .team)
        let id = try await worker.add("缺路灯", "--category", "lighting")
        try await worker.sync()
        try await worker.run("need", "withdraw", id, "--reason", "重复登记")
        try await worker.sync()
        try await team.sync()
        try await worker.run("need", "withdraw", id, "--undo")
        try await worker.sync()
        try await team.sync()
        #expect(try await worker.needs().map { $0["id"].text } == [id])
        #expect(try await team.needs().map { $0["id"].text } == [id])
    }

    @Test func declinedJobGoesToAnotherTeam() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let team = try await world.enrolled("team", .team)
        let other = try await world.enrolled("other", .team("T02"))
        let office = try await world.enrolled("office", .office)
        let id = try await worker.add("独居老人需要帮忙", "--category", "lighting")
        try await worker.sync()
        try await team.sync()
        try await team.run("job", "decline", id, "--reason", "不归我们管")
        try await team.sync()
        try await office.sync()
        #expect(try await office.need(id)["answer"]["text"].text == "不归我们管")
        #expect(try await office.status(of: id) == "declined")
        try await office.run("dispatch", id, "--team", "T02")
        try await office.sync()
        #expect(try await team.sync().stdout.contains("1 left this device"))
        #expect(try await team.jobs() == [])
        try await other.sync()
        #expect(try await other.jobs().map { $0["id"].text } == [id])
        #expect(try await other.status(of: id) == "dispatched")
    }

    /// Only answers to the current dispatch count (DESIGN.md §4 rule 7).
    @Test func lateAnswerOfTheFormerTeamDoesNotCount() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let team = try await world.enrolled("team", .team)
        let office = try await world.enrolled("office", .office)
        let id = try await worker.add("缺路灯", "--category", "lighting")
        try await worker.sync()
        try await team.sync()
        try await office.sync()
        try await office.run("dispatch", id, "--team", "T02")
        try await office.sync()
        try await team.run("job", "finish", id, "--result", "修好了", exits: 1)
        try await team.run("job", "accept", id)
        try await team.run("job", "finish", id, "--result", "修好了")
        try await team.sync()
        try await office.sync()
        #expect(try await office.status(of: id) == "dispatched")
        // It is not lost either: the office decides.
        let conflicts = try await office.conflicts()
        #expect(conflicts.map { $0["field"].text } == ["dispatch"])
        let late = conflicts[0]["versions"].elements.filter { $0["field"].text == "answer" }
        #expect(late.map { $0["value"]["text"].text } == ["修好了"])
    }

    @Test func listMarksWhatIsNotYetSent() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        _ = try await worker.add("已上传")
        try await worker.sync()
        _ = try await worker.add("未上传")
        let unsent = try await worker.needs().filter { $0["unsent"].isTrue }
        #expect(unsent.map { $0["text"].text } == ["未上传"])
        let marked = try await worker.run("need", "list").lines.filter { $0.contains(" * ") }
        #expect(marked.count == 1 && marked[0].hasSuffix("未上传"))
    }

    @Test func jobsAreSortedByDueDate() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let team = try await world.enrolled("team", .team)
        for (text, due) in [("三", "2090-03-01"), ("一", "2090-01-01"), ("二", "2090-02-01")] {
            let id = try await worker.add(text)
            try await worker.sync()
            try await world.admin("dispatch", id, "--team", "T01", "--due", due)
        }
        try await team.sync()
        #expect(try await team.jobs().map { $0["text"].text } == ["一", "二", "三"])
    }

    @Test func jobPastItsDateIsOverdue() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let late = try await worker.add("超期")
        let other = try await worker.add("不急")
        try await worker.sync()
        try await world.dispatchOverdue(late)
        try await world.admin("dispatch", other, "--team", "T01", "--due", "2099-01-01")
        try await worker.sync()
        #expect(try await worker.needs("--overdue").map { $0["id"].text } == [late])
    }

    @Test func dueDateThatHasPassedIsNotDispatched() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let id = try await worker.add("水")
        try await worker.sync()
        try await world.admin("dispatch", id, "--team", "T01", "--due", "2020-02-29", exits: 65)
        #expect(try await world.needs().map { $0["status"].text } == ["recorded"])
    }

    @Test func jobIsNewUntilItWasShown() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let team = try await world.enrolled("team", .team)
        _ = try await worker.add("缺路灯", "--category", "lighting")
        try await worker.sync()
        try await team.sync()
        #expect(try await team.jobs().map { $0["new"].isTrue } == [true])
        #expect(try await team.jobs().map { $0["new"].isTrue } == [false])
    }

    private static let filters: [([String], [String])] = [
        (["--status", "dispatched"], ["灯"]), (["--status", "recorded"], ["水", "人"]),
        (["--category", "water"], ["水"]), (["--category", "供水排水"], ["水"]),
        (["--grid", "152921100001002"], ["人"]), (["--grid", "幸福社区第二网格"], ["人"]),
        (["--status", "rated"], []),
    ]

    @Test func filtersOfTheList() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        _ = try await worker.add("灯", "--category", "lighting")
        _ = try await worker.add("水", "--category", "water")
        _ = try await worker.add("人", grid: "152921100001002")
        try await worker.sync()
        for (arguments, expected) in Self.filters {
            let listed = try await worker.start(["need", "list", "--json"] + arguments).end()
                .expect(0).json()["needs"].elements
            #expect(Set(listed.map { $0["text"].text }) == Set(expected), "\(arguments)")
        }
    }

    @Test func historyFromTheServerTellsEveryChange() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let office = try await world.enrolled("office", .office)
        let id = try await worker.add("门口积水", "--address", "一")
        try await worker.sync()
        for address in ["二", "三"] {
            try await worker.run("need", "edit", id, "address=\(address)")
            try await worker.sync()
        }
        try await office.sync()
        let history = try await office.run("need", "show", id, "--history", "--json").json()
        let addresses = history["history"].elements.filter { $0["field"].text == "address" }
        #expect(addresses.map { $0["value"].text } == ["一", "二", "三"])
        #expect(addresses.map { $0["shown"].isTrue } == [false, false, true])
    }

    @Test func historyWithoutServerShowsWhatIsHeld() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let id = try await worker.add("门口积水")
        try await worker.sync()
        try await world.stop()
        let outcome = try await worker.run("need", "show", id, "--history", "--json")
        #expect(outcome.stderr.contains("this is what the device holds"))
        #expect(
            try outcome.json()["history"].elements.map { $0["field"].text } == ["text", "grid"])
    }

    @Test func everythingButEnrollAndSyncWorksWithoutServer() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let office = try await world.enrolled("office", .office)
        let old = try await worker.add("旧的")
        try await worker.sync()
        try await office.sync()
        try await world.stop()
        let id = try await worker.add("新的")
        try await worker.run("need", "edit", id, "address=3号楼")
        try await worker.run("note", id, "备注")
        try await worker.run("need", "withdraw", id, "--reason", "试")
        try await worker.run("need", "withdraw", id, "--undo")
        try await office.run("dispatch", old, "--team", "T01")
        try await office.run("job", "accept", old)
        try await office.run("job", "finish", old, "--result", "好")
        try await office.run("need", "rate", old, "--grade", "5")
        #expect(try await worker.waiting() == 5)
        #expect(try await office.status(of: old) == "rated")
    }

    /// Nobody is shown what is not theirs.
    @Test func needOfAnotherVillageStaysThere() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let neighbour = try await world.enrolled("neighbour", .worker("152921100201"))
        _ = try await worker.add("门口积水")
        try await worker.sync()
        #expect(try await neighbour.sync().stdout == "nothing new\n")
        #expect(try await neighbour.needs() == [])
    }
}
