import Foundation
import Glibc
import Testing

/// Bad networks: whatever happens on the way, what was recorded is safe, and it is said.
@Suite(.lane) struct NetworkTests {
    /// An enrolled device with one need that waits, whose hub was then replaced.
    private func device(behind other: FakeServer) async throws -> (World, Device) {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        _ = try await device.add("门口积水")
        try await point(device, at: other.url)
        return (world, device)
    }

    /// Writes another address into the journal, as a name server or a portal would lead elsewhere.
    private func point(_ device: Device, at url: String) async throws {
        try await SQLite.run(
            "UPDATE enrolment SET server = '\(url)'", on: device.home + "/journal.sqlite",
            in: device.world)
    }

    @Test(arguments: [200, 302, 401, 403, 511]) func captivePortalIsNoHub(
        status: Int
    ) async throws {
        let portal = try FakeServer.captivePortal(status: status)
        let (_, device) = try await device(behind: portal)
        let outcome = try await device.sync(exits: 69)
        #expect(outcome.stderr.contains("sign in"))
        #expect(outcome.stderr.contains("records are safe on this device; 1 waiting"))
        #expect(try await device.waiting() == 1)
    }

    @Test(arguments: [200, 302, 404]) func captivePortalDoesNotEnroll(status: Int) async throws {
        let portal = try FakeServer.captivePortal(status: status)
        let world = try await World(serving: false)
        try await world.device("device").enroll(portal.url, "AAAA-BBBB-CCCC-DDDD", exits: 69)
        try await world.device("device").run("status", exits: 77)
    }

    /// libcurl is loaded when it is first needed, so its absence is told then, and only then.
    @Test func withoutLibcurlOnlyTheNetworkIsAmiss() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        let libraries = world.folder + "/libraries"
        try FileManager.default.createDirectory(
            atPath: libraries, withIntermediateDirectories: true)
        try Data("no library".utf8).write(to: URL(filePath: libraries + "/libcurl.so.4"))
        func run(_ arguments: [String]) async throws -> Outcome {
            try await world.start(
                [Programs.client] + arguments,
                environment: ["WAYSTATION_HOME": device.home, "LD_LIBRARY_PATH": libraries]
            ).end()
        }
        try await run(["need", "add", "门口积水", "--grid", "152921100001001"]).expect(0)
        let sync = try await run(["sync"]).expect(69)
        #expect(sync.stderr.contains("libcurl cannot be loaded"))
        #expect(sync.stderr.contains("apt install libcurl4"))
        #expect(sync.stderr.contains("safe on this device"))
        let chinese = try await run(["sync", "--language", "zh-Hans"]).expect(69)
        #expect(chinese.stderr.contains("请安装 libcurl"))
        try await device.sync()
        #expect(try await device.waiting() == 0)
    }

    @Test func historyIsTheDevicesWhereTheHubsCannotBeHad() async throws {
        let portal = try FakeServer.captivePortal(status: 403)
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        let synced = try await device.add("门口积水")
        try await device.sync()
        let waiting = try await device.add("缺路灯")
        // The hub could not have this one yet, and is not asked.
        let own = try await device.run("need", "show", waiting, "--history")
        #expect(own.stdout.contains("缺路灯") && !own.stderr.contains("this is what"))
        try await point(device, at: portal.url)
        let held = try await device.run("need", "show", synced, "--history")
        #expect(held.stdout.contains("门口积水"))
        #expect(held.stderr.contains("this is what the device holds"))
        #expect(held.stderr.contains("HTTP 403"))
    }

    @Test func interruptEndsAWaitForAnAnswer() async throws {
        let silent = try FakeServer.silent()
        let (_, device) = try await device(behind: silent)
        let sync = try device.start(["sync"])
        try await eventually("the connection") { silent.connections == 1 }
        sync.signal(SIGINT)
        // Far less than any timeout of the client's own.
        let outcome = try await sync.end(within: 20).expect(130)
        #expect(outcome.stderr.contains("records are safe on this device; 1 waiting"))
        #expect(try await device.waiting() == 1)
    }

    @Test func watchGoesOnUntilInterrupted() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        _ = try await device.add("门口积水")
        let watch = try device.start(["sync", "--watch"])
        try await eventually("the first sync") { watch.stdout == "1 sent\n" }
        #expect(!watch.hasEnded)
        watch.signal(SIGINT)
        try await watch.end(within: 20).expect(130)
    }

    @Test func nobodyListening() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        try await world.stop()
        _ = try await device.add("门口积水")
        _ = try await device.add("缺路灯")
        let outcome = try await device.sync(exits: 69)
        #expect(outcome.stderr.contains("2 waiting"))
        try await world.restart()
        try await device.sync()
        #expect(try await world.needs().count == 2)
    }

    /// The answer is lost once; the same batch is admitted once (rule 10).
    @Test func lostAnswerIsAskedForAgain() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        _ = try await device.add("门口积水")
        let hub = world.port
        let proxy = try FakeServer { client in
            // Passes the request on and drops the answer.
            guard let server = try? Socket(to: hub) else { return }
            server.send(client.receive())
            _ = server.receive()
            client.end()
        }
        try await point(device, at: proxy.url)
        let lost = try await device.sync(exits: 69)
        #expect(lost.stderr.contains("1 waiting"))
        try await point(device, at: world.url)
        #expect(try await device.sync().stdout.contains("1 sent"))
        #expect(try await world.needs().count == 1)
        try await world.check()
    }
}
