import Foundation
import Testing

/// Garbage at the server's door: the right status, and it goes on serving.
@Suite(.lane) struct WireTests {
    /// Sends requests that should be answered so; then a whole device's sync must still work.
    private func expect(_ status: Int, of requests: RawRequest...) async throws {
        let world = try await World()
        for request in requests {
            let answer = try request.send(to: world.port)
            #expect(answer?.status == status, "\(request): \(answer?.text ?? "no answer")")
            // Two lines for people: what happened, and what to do.
            #expect(answer?.text.split(separator: "\n").count == 2)
        }
        try await stillServes(world)
    }

    private func stillServes(_ world: World) async throws {
        let worker = try await world.enrolled("worker-\(UUID())", .worker)
        _ = try await worker.add("水")
        try await worker.sync()
    }

    // MARK: Frames

    static let broken: [(String, [UInt8], Int)] = [
        ("empty", [], 400),
        ("text", Array("hello, is there anybody?".utf8), 400),
        ("only a head", Array(RawFrame.frame([1, 2, 3]).prefix(11)), 400),
        ("cut short", RawFrame.frame(Array(repeating: 7, count: 100)).dropLast(9), 400),
        ("one bit wrong", RawFrame.frame([1, 2, 3]).dropLast() + [0x55], 400),
        ("too long for its length", RawFrame.frame([1, 2, 3, 4], length: 2), 400),
        ("too short for its length", RawFrame.frame([1, 2, 3, 4], length: 9), 400),
        (
            "not deflated", RawFrame.frame(deflated: Array(repeating: 0xEE, count: 40), length: 40),
            400
        ),
        ("no message of ours", RawFrame.frame(Array(repeating: 0xFF, count: 60)), 400),
        ("version 2", RawFrame.frame([1], version: 2), 426),
        ("version 0", RawFrame.frame([1], version: 0), 426),
        ("dictionary of another", RawFrame.frame([1], dictionary: 0xDEAD_BEEF), 415),
        ("claims 9 MiB", RawFrame.frame([1], length: 9 << 20), 413),
        ("bomb that claims little", RawFrame.bomb(claiming: 1_000), 400),
        ("bomb that claims 8 MiB", RawFrame.bomb(claiming: 8 << 20), 400),
        ("bomb that claims 4 GiB", RawFrame.bomb(claiming: 0xFFFF_FFFF), 413),
    ]

    /// Who enrols, or asks for a history, has little to say, and a bomb is more than that.
    private func status(_ status: Int, of name: String, at path: String) -> Int {
        path != "/v1/sync" && name.hasPrefix("bomb") ? 413 : status
    }

    @Test func brokenFrameOfAStranger() async throws {
        let world = try await World()
        for (name, frame, status) in Self.broken {
            let answer = try RawRequest(body: frame).send(to: world.port)
            let expected = self.status(status, of: name, at: "/v1/enroll")
            #expect(answer?.status == expected, "\(name)")
        }
        try await stillServes(world)
    }

    /// An enrolled device's frames are looked at just as hard.
    @Test(arguments: ["/v1/sync", "/v1/history"])
    func brokenFrameOfADevice(path: String) async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let token = try await SQLite.rows(
            of: "SELECT token FROM enrolment", on: worker.home + "/journal.sqlite", in: world)
        for (name, frame, status) in Self.broken {
            let answer = try RawRequest(path: path, token: token.first, body: frame)
                .send(to: world.port)
            let expected = self.status(status, of: name, at: path)
            #expect(answer?.status == expected, "\(name)")
        }
        _ = try await worker.add("水")
        try await worker.sync()
        try await world.check()
    }

    @Test func unknownCodeInAGoodFrame() async throws {
        // EnrollRequest.code, field 1 of protocol/waystation.proto.
        let message: [UInt8] = [0x0A, 4] + Array("AAAA".utf8)
        try await expect(404, of: RawRequest(body: RawFrame.frame(message)))
    }

    // MARK: HTTP

    @Test func wrongMediaType() async throws {
        let frame = RawFrame.frame([1])
        try await expect(
            415, of: RawRequest(mediaType: "text/plain", body: frame),
            RawRequest(mediaType: "application/vnd.waystation.v2", body: frame),
            RawRequest(mediaType: nil, body: frame))
    }

    @Test func noTokenOrAnUnknownOne() async throws {
        let frame = RawFrame.frame([1])
        try await expect(
            401, of: RawRequest(path: "/v1/sync", body: frame),
            RawRequest(path: "/v1/history", body: frame),
            RawRequest(path: "/v1/sync", token: "x", body: frame),
            RawRequest(path: "/v1/sync", token: "", body: frame),
            RawRequest(path: "/v1/sync", token: String(repeating: "a", count: 300), body: frame))
    }

    /// Also when only its head says so: a terabyte is not waited for.
    @Test func moreThanAMebibyte() async throws {
        try await expect(
            413, of: RawRequest(body: [UInt8](repeating: 0x57, count: 1 << 20 | 1)),
            RawRequest(body: [0x57, 0x59], length: 1 << 40))
    }

    @Test func unknownPath() async throws {
        try await expect(
            404, of: RawRequest(path: "/", body: [1]), RawRequest(path: "/v1", body: [1]),
            RawRequest(path: "/v1/sync/", body: [1]),
            RawRequest(path: "/../etc/passwd", body: [1]))
    }

    @Test func wrongMethod() async throws {
        try await expect(
            405, of: RawRequest(method: "GET", path: "/v1/sync"),
            RawRequest(method: "DELETE", path: "/v1/enroll"),
            RawRequest(method: "POST", path: "/healthz"))
    }

    @Test func requestsThatBreakOffAreForgotten() async throws {
        let world = try await World()
        for length in [1, 20, 200_000] {
            let request = RawRequest(
                path: "/v1/enroll", body: [UInt8](repeating: 0x57, count: length),
                length: length + 100)
            let answer = try request.send(to: world.port, breaksOff: true)
            #expect(answer.map { $0.status >= 400 } ?? true)
        }
        try await stillServes(world)
    }

    private static let noHTTP = [
        "\r\n\r\n", "GET\r\n\r\n", "\u{0}\u{1}\u{2}\r\n\r\n", "POST /v1/sync HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/enroll HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nZ\r\n",
    ]

    @Test func whatIsNoHTTP() async throws {
        let world = try await World()
        for text in Self.noHTTP {
            let socket = try Socket(to: world.port)
            socket.send(text.utf8)
            socket.finishSending()
            let answer = RawAnswer(from: socket)
            #expect(
                answer.map { (400..<600).contains($0.status) } ?? true, "\(text.debugDescription)")
        }
        try await stillServes(world)
    }

    @Test func headOfAMegabyteIsRefused() async throws {
        let world = try await World()
        let request = RawRequest(token: String(repeating: "a", count: 1_000_000))
        let answer = try request.send(to: world.port)
        #expect(answer.map { (400..<500).contains($0.status) } ?? true)
        try await stillServes(world)
    }

    // MARK: The operator's addresses

    @Test func healthAndReadiness() async throws {
        let world = try await World()
        for (path, text) in [("/healthz", "alive"), ("/readyz", "ready")] {
            let answer = try RawRequest(method: "GET", path: path).send(to: world.port)
            #expect(answer?.status == 200)
            #expect(answer?.text.contains(text) == true)
        }
    }

    @Test func metricsCountWhatHappened() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        _ = try await worker.add("水", "--resident", "王秀英")
        try await worker.sync()
        let answer = try RawRequest(method: "GET", path: "/metrics").send(to: world.port)
        let text = answer?.text ?? ""
        #expect(answer?.status == 200)
        for name in ["changes", "batches", "devices", "bytes"] { #expect(text.contains(name)) }
        #expect(!text.contains("王秀英") && !text.contains("worker"))
    }
}
