import Foundation
import Testing

/// Joining, joining again, and being sent away.
@Suite(.lane) struct EnrolmentTests {
    @Test func notEnrolledIsSaidBeforeAnythingElse() async throws {
        let world = try await World(serving: false)
        let device = world.device("device")
        for command in [["sync"], ["status"], ["need", "list"], ["need", "add", "x"]] {
            let outcome = try await device.start(command).end().expect(77)
            #expect(outcome.stderr.contains("waystation enroll"), "\(command)")
        }
    }

    @Test func codeWorksOnce() async throws {
        let world = try await World()
        let code = try await world.invite(.worker, name: "device")
        try await world.device("first").enroll(world.url, code)
        let second = world.device("second")
        let outcome = try await second.enroll(world.url, code, exits: 77)
        #expect(outcome.stderr.contains("used already"))
        try await second.run("status", exits: 77)
    }

    @Test func unknownCodeIsRefused() async throws {
        let world = try await World()
        let outcome = try await world.device("device").enroll(
            world.url, "AAAA-BBBB-CCCC-DDDD", exits: 77)
        #expect(outcome.stderr.contains("never given out"))
    }

    @Test func expiredCodeIsRefused() async throws {
        let world = try await World()
        let code = try await world.invite(.worker, name: "device", clock: "-4d")
        let outcome = try await world.device("device").enroll(world.url, code, exits: 77)
        #expect(outcome.stderr.contains("expired"))
    }

    @Test(arguments: ["", "AB CD", "-P234", "ключ"])
    func whatIsNoCodeIsNotSent(code: String) async throws {
        let world = try await World(serving: false)
        let outcome = try await world.device("device").enroll(
            "http://127.0.0.1:9", code, exits: 64)
        #expect(!outcome.errors.isEmpty)
    }

    @Test(arguments: ["ftp://127.0.0.1", "127.0.0.1:80", "http://", "http://a:b@c", "http://h:0"])
    func whatIsNoAddressIsNotTried(url: String) async throws {
        let world = try await World(serving: false)
        try await world.device("device").enroll(url, "AAAA-BBBB", exits: 64)
    }

    /// The code may be read out over a bad line and typed in small letters.
    @Test func codeIsTakenInSmallLetters() async throws {
        let world = try await World()
        let code = try await world.invite(.worker, name: "device")
        try await world.device("device").enroll(world.url, code.lowercased())
    }

    @Test func codeStandsAloneOnTheLastLine() async throws {
        let world = try await World()
        let outcome = try await world.admin(
            "invite", "--role", "team", "--team", "T01", "--name", "x")
        #expect(outcome.stdout.wholeMatch(of: /[A-Z0-9-]+\n/) != nil)
    }

    @Test func failedEnrolmentLeavesTheOldOneAlone() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        try await device.enroll(world.url, "AAAA-BBBB-CCCC-DDDD", exits: 77)
        try await device.sync()
    }

    @Test func revokedDeviceIsToldAndKeepsWhatItHolds() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        let id = try await device.add("门口积水")
        try await world.admin("revoke", "1")
        let outcome = try await device.sync(exits: 77)
        #expect(outcome.stderr.contains("revoked"))
        #expect(outcome.stderr.contains("1 waiting"))
        #expect(try await device.needs().map { $0["id"].text } == [id])
    }

    @Test func enrollingAgainSendsWhatWaited() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        let id = try await device.add("门口积水")
        try await world.admin("revoke", "1")
        try await device.sync(exits: 77)
        try await device.enroll(world.url, world.invite(.worker, name: "device"))
        #expect(try await world.needs().map { $0["id"].text } == [id])
        #expect(try await device.waiting() == 0)
    }

    /// A copy of the old journal, as a thief would have it, is of no use any more.
    @Test func enrollingAgainEndsTheOldToken() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        _ = try await device.add("门口积水")
        try await device.sync()
        let copy = world.device("copy")
        try FileManager.default.copyItem(atPath: device.home, toPath: copy.home)
        try await device.enroll(world.url, world.invite(.worker, name: "device"))
        let outcome = try await copy.sync(exits: 77)
        #expect(outcome.stderr.contains("not enrolled here"))
        try await device.sync()
    }

    @Test func sameDeviceGoesOnAsItself() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        let id = try await device.add("门口积水")
        try await device.sync()
        try await device.enroll(world.url, world.invite(.worker, name: "device"))
        #expect(try await device.needs().map { $0["id"].text } == [id])
        #expect(try await world.admin("devices", "--json").json().elements.count == 1)
    }

    @Test func serverAtAnotherAddressIsEnrolledAgain() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        let id = try await device.add("门口积水")
        let old = world.url
        try await world.stop()
        try await world.serve()
        #expect(world.url != old)
        try await device.sync(exits: 69)
        try await device.enroll(world.url, world.invite(.worker, name: "device"))
        #expect(try await world.needs().map { $0["id"].text } == [id])
        #expect(try await device.state()["server"].text == world.url)
    }

    /// A machine's disk was copied: the sync that finds out says so, once.
    @Test func copiedJournalSaysSoInItsSync() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        let copy = world.device("copy")
        try FileManager.default.copyItem(atPath: device.home, toPath: copy.home)
        _ = try await device.add("一")
        #expect(try await !device.sync().stdout.contains("copy"))
        _ = try await copy.add("二")
        let json = try await copy.run("sync", "--json").json()
        #expect(json["notices"].elements.count == 1)
        #expect(try await !copy.sync().stdout.contains("copy"))

        let third = world.device("third")
        try FileManager.default.copyItem(atPath: device.home, toPath: third.home)
        _ = try await device.add("三")
        try await device.sync()
        _ = try await third.add("四")
        #expect(try await third.sync().stdout.contains("a copy or a restored backup"))
        #expect(try await world.needs().count == 4)
    }

    @Test func journalIsItsOwnersAlone() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        for name in try FileManager.default.contentsOfDirectory(atPath: device.home) {
            let attributes = try FileManager.default.attributesOfItem(
                atPath: device.home + "/" + name)
            #expect((attributes[.posixPermissions] as? Int) == 0o600, "\(name)")
        }
        let folder = try FileManager.default.attributesOfItem(atPath: device.home)
        #expect((folder[.posixPermissions] as? Int) == 0o700)
    }

    @Test func hintForAnUnknownDeviceNamesTheRightList() async throws {
        let world = try await World(serving: false)
        let outcome = try await world.admin("revoke", "99", exits: 1)
        #expect(outcome.stderr.contains("hint: devices shows"))
    }

    @Test func logNamesNoResident() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        _ = try await device.add("门口积水", "--resident", "王秀英", "--phone", "13800000001")
        try await device.sync()
        try await eventually("the sync to be logged") {
            world.serverLog.contains(" info sync device=")
        }
        for text in ["门口积水", "王秀英", "13800000001"] {
            #expect(!world.serverLog.contains(text))
        }
    }
}
