import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubServer

@Suite struct HubServerTests {
    // MARK: The operator's addresses

    @Test(arguments: [("/healthz", "alive\n"), ("/readyz", "ready, sequence ")])
    func probeIsAnswered(path: String, start: String) async throws {
        try await TestHub.with { hub in
            let answer = try await hub.request("GET", path)
            #expect(answer.status == 200)
            #expect(answer.text.hasPrefix(start))
        }
    }

    @Test func metricsCountWhatHappened() async throws {
        try await TestHub.with { hub in
            var device = TestDevice(token: try await hub.enrol().token, replica: 11)
            let frame = try Frame.encode(
                device.recordingNeed("小区里缺路灯").request.encoded(), usesDictionary: true)
            _ = try await hub.post("/v1/sync", frame: frame, token: device.token)
            _ = try await hub.request("GET", "/nowhere")
            let lines = try await hub.request("GET", "/metrics").text.split(separator: "\n")
            for line in [
                "waystation_requests_total{status=\"200\"} 2",
                "waystation_requests_total{status=\"404\"} 1",
                "waystation_batches_total 1", "waystation_sync_commits_total 1",
                "waystation_changes_total{outcome=\"applied\"} 2", "waystation_needs 1",
                "waystation_open_conflicts 0", "waystation_devices{last_sync=\"1h\"} 1",
            ] {
                #expect(lines.contains { $0 == line }, "\(line)")
            }
        }
    }

    @Test func commitsThatStoreNothingAreNotCounted() async throws {
        try await TestHub.with { hub in
            let device = TestDevice(token: try await hub.enrol().token, replica: 11)
            let frame = try Frame.encode(device.request().encoded(), usesDictionary: true)
            let status = try await hub.post("/v1/sync", frame: frame, token: device.token).status
            #expect(status == 200)
            let text = try await hub.request("GET", "/metrics").text
            #expect(text.contains("\nwaystation_sync_commits_total 0\n"))
        }
    }

    @Test func whatIsDrainedIsCounted() async throws {
        try await TestHub.with { hub in
            let port = hub.port
            let text = try await offPool {
                let client = try TestClient(port: port)
                let body = [UInt8](repeating: 0, count: 100_000)
                _ = try client.request("POST", "/nowhere", body: body)
                return try client.request("GET", "/metrics").text
            }
            #expect(text.contains("\nwaystation_received_bytes_total 100000\n"))
        }
    }

    /// A client takes what follows the head for the next answer.
    @Test(arguments: ["/healthz", "/readyz", "/metrics", "/nowhere", "/v1/sync"])
    func headIsAnsweredWithoutABody(path: String) async throws {
        try await TestHub.with { hub in
            let port = hub.port
            let (answer, next) = try await offPool {
                let client = try TestClient(port: port)
                return (
                    try client.request("HEAD", path), try client.request("GET", "/healthz")
                )
            }
            let statuses = ["/nowhere": 404, "/v1/sync": 405]
            #expect(answer.status == statuses[path] ?? 200)
            #expect(answer.fields["content-length"].flatMap { Int($0) } ?? 0 > 0)
            #expect(next.text == "alive\n")
        }
    }

    @Test func metricsHaveTheMediaTypeOfPrometheus() async throws {
        try await TestHub.with { hub in
            let answer = try await hub.request("GET", "/metrics")
            #expect(answer.fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
        }
    }

    // MARK: What is refused

    @Test func unknownPathIs404() async throws {
        try await TestHub.with { hub in
            let answer = try await hub.request("GET", "/v2/sync")
            #expect(answer.status == 404)
        }
    }

    @Test func wrongMethodIs405AndNamesTheRightOne() async throws {
        try await TestHub.with { hub in
            let answer = try await hub.request("GET", "/v1/sync")
            #expect([answer.status.description, answer.fields["allow"]] == ["405", "POST"])
            let probe = try await hub.request("POST", "/healthz")
            #expect([probe.status.description, probe.fields["allow"]] == ["405", "GET, HEAD"])
        }
    }

    @Test(arguments: ["/v1/sync", "/v1/history"])
    func unknownTokenIs401(path: String) async throws {
        try await TestHub.with { hub in
            let frame = try Frame.encode(
                TestDevice(token: "", replica: 1).request().encoded(), usesDictionary: true)
            for token in [nil, "stranger", String(repeating: "x", count: 10_000)] {
                let answer = try await hub.post(path, frame: frame, token: token)
                #expect(
                    [answer.status.description, answer.fields["www-authenticate"]] == [
                        "401", "Bearer",
                    ])
            }
        }
    }

    /// What is wrong with a stranger's frame is none of the stranger's business.
    @Test(arguments: ["/v1/sync", "/v1/history"])
    func unknownTokenIs401AlsoWithADamagedFrame(path: String) async throws {
        try await TestHub.with { hub in
            let answer = try await hub.post(path, frame: [1, 2, 3], token: "stranger")
            #expect(answer.status == 401)
        }
    }

    /// Not even its body is read, so there is nothing to inflate.
    @Test(arguments: ["/v1/sync", "/v1/history"])
    func unknownTokenIs401BeforeTheBody(path: String) async throws {
        try await TestHub.with { hub in
            let status = try await statusOfHead(
                "POST \(path)", "Authorization: Bearer stranger\r\nContent-Length: 100", to: hub)
            #expect(status == 401)
        }
    }

    /// The token is known from its last request, and is looked up all the same.
    @Test func revokedDeviceIs403AfterItsLastSync() async throws {
        try await TestHub.with { hub in
            let enrolled = try await hub.enrol()
            var device = TestDevice(token: enrolled.token, replica: 9)
            func frame(_ text: String) throws -> [UInt8] {
                try Frame.encode(
                    device.recordingNeed(text).request.encoded(), usesDictionary: true)
            }
            let token = enrolled.token
            #expect(try await hub.post("/v1/sync", frame: frame("水"), token: token).status == 200)
            try hub.ledger().revoke(device: enrolled.assignment.device)
            for body in [try frame("电"), [1, 2, 3], try frame("路")] {
                #expect(try await hub.post("/v1/sync", frame: body, token: token).status == 403)
            }
            #expect(try hub.ledger().needs().count == 1)
        }
    }

    @Test(arguments: ["/v1/sync", "/v1/history"])
    func revokedDeviceIs403(path: String) async throws {
        try await TestHub.with { hub in
            let enrolled = try await hub.enrol()
            try hub.ledger().revoke(device: enrolled.assignment.device)
            let frame = try Frame.encode(
                TestDevice(token: "", replica: 1).request().encoded(), usesDictionary: true)
            #expect(try await hub.post(path, frame: frame, token: enrolled.token).status == 403)
        }
    }

    private static func enrolFrame(code: String) throws -> [UInt8] {
        try Frame.encode(
            EnrollRequest(code: code, replica: .none).encoded(), usesDictionary: true)
    }

    @Test func unknownCodeIs404() async throws {
        try await TestHub.with { hub in
            let frame = try Self.enrolFrame(code: "AAAA-BBBB-CCCC-DDDD")
            #expect(try await hub.post("/v1/enroll", frame: frame).status == 404)
        }
    }

    @Test func usedCodeIs410() async throws {
        try await TestHub.with { hub in
            let frame = try Self.enrolFrame(code: try hub.invite())
            #expect(try await hub.post("/v1/enroll", frame: frame).status == 200)
            #expect(try await hub.post("/v1/enroll", frame: frame).status == 410)
        }
    }

    @Test func expiredCodeIs410() async throws {
        try await TestHub.with { hub in
            let frame = try Self.enrolFrame(code: try hub.invite(hours: 1))
            hub.ahead.advance(3_600_001)
            #expect(try await hub.post("/v1/enroll", frame: frame).status == 410)
        }
    }

    /// Whoever enrols is a stranger, and sends a code.
    @Test(arguments: [
        [UInt8](repeating: 0, count: Limits.enquiryBytesMax),
        [UInt8](repeating: 0, count: Limits.inflatedBytesMax - 1),
    ])
    func oversizeEnrolmentIs413(message: [UInt8]) async throws {
        try await TestHub.with { hub in
            let token = try await hub.enrol().token
            let frame = try Frame.encode(message + [0], usesDictionary: false)
            for path in ["/v1/enroll", "/v1/history"] {
                #expect(try await hub.post(path, frame: frame, token: token).status == 413)
            }
        }
    }

    @Test func requestOfTooManyFieldsIs400() async throws {
        try await TestHub.with { hub in
            // Four million ancestors.
            let message = (0..<Limits.inflatedBytesMax).map { $0 % 2 == 0 ? 0x52 : 0 as UInt8 }
            let frame = try Frame.encode(message, usesDictionary: false)
            let token = try await hub.enrol().token
            #expect(try await hub.post("/v1/sync", frame: frame, token: token).status == 400)
        }
    }

    @Test func announcedOversizeIs413BeforeTheBody() async throws {
        try await TestHub.with { hub in
            let status = try await statusOfHead(
                "POST /v1/enroll", "Content-Length: \(Limits.frameBytesMax + 1)", to: hub)
            #expect(status == 413)
        }
    }

    /// What a request hears whose body never comes.
    private func statusOfHead(
        _ start: String, _ fields: String, to hub: TestHub
    ) async throws -> Int {
        let port = hub.port
        return try await offPool {
            let client = try TestClient(port: port)
            client.send(
                "\(start) HTTP/1.1\r\nHost: test\r\nContent-Type: \(Frame.mediaType)\r\n"
                    + "\(fields)\r\n\r\n")
            return try client.answer().status
        }
    }

    @Test func unannouncedOversizeIs413AndTheConnectionGoesOn() async throws {
        try await TestHub.with { hub in
            let port = hub.port
            let statuses = try await offPool {
                let client = try TestClient(port: port)
                client.send(
                    "POST /v1/enroll HTTP/1.1\r\nHost: test\r\nContent-Type: \(Frame.mediaType)\r\n"
                        + "Transfer-Encoding: chunked\r\n\r\n")
                let chunk = [UInt8](repeating: 0, count: 1 << 20)
                for _ in 0..<2 {
                    client.send("100000\r\n")
                    client.send(chunk)
                    client.send("\r\n")
                }
                client.send("0\r\n\r\n")
                return [
                    try client.answer().status, try client.request("GET", "/healthz").status,
                ]
            }
            #expect(statuses == [413, 200])
        }
    }

    @Test func bombIs413() async throws {
        try await TestHub.with { hub in
            var frame = try Frame.encode([1], usesDictionary: false)
            // The length that the header promises is one more than the cap.
            let length = UInt32(Limits.inflatedBytesMax + 1)
            for index in 0..<4 {
                frame[7 + index] = UInt8(truncatingIfNeeded: length >> (8 * UInt32(index)))
            }
            let answer = try await hub.post("/v1/enroll", frame: resealed(frame))
            #expect(answer.status == 413)
        }
    }

    @Test(arguments: ["text/plain", "application/vnd.waystation.v2", ""])
    func wrongMediaTypeIs415(mediaType: String) async throws {
        try await TestHub.with { hub in
            let answer = try await hub.request(
                "POST", "/v1/enroll", fields: [("Content-Type", mediaType)],
                body: try Self.enrolFrame(code: "AAAA"))
            #expect(answer.status == 415)
        }
    }

    @Test(arguments: ["Application/VND.waystation.v1", "application/vnd.waystation.v1; a=b"])
    func mediaTypeIgnoresCaseAndParameters(mediaType: String) async throws {
        try await TestHub.with { hub in
            let answer = try await hub.request(
                "POST", "/v1/enroll", fields: [("Content-Type", mediaType)],
                body: try Self.enrolFrame(code: "AAAA"))
            #expect(answer.status == 404)
        }
    }

    @Test func unknownDictionaryIs415() async throws {
        try await TestHub.with { hub in
            // Long enough to be compressed.
            var frame = try Self.enrolFrame(code: String(repeating: "A", count: 100))
            // Bytes 2 to 5 of the zlib stream name the dictionary (RFC 1950 §2.2).
            frame[13] ^= 0xFF
            #expect(try await hub.post("/v1/enroll", frame: resealed(frame)).status == 415)
        }
    }

    @Test func otherVersionIs426WithTheOneThatIsSpoken() async throws {
        try await TestHub.with { hub in
            var frame = try Self.enrolFrame(code: "AAAA")
            frame[2] = 9
            let answer = try await hub.post("/v1/enroll", frame: frame)
            #expect(
                [answer.status.description, answer.fields["upgrade"]] == ["426", "waystation/1"])
            #expect(answer.text.hasPrefix("frame version 9 is not spoken here; 1 to 1 are\n"))
        }
    }

    @Test func damagedFrameIs400() async throws {
        try await TestHub.with { hub in
            var frame = try Self.enrolFrame(code: "AAAA")
            frame[frame.count - 1] ^= 1
            #expect(try await hub.post("/v1/enroll", frame: frame).status == 400)
        }
    }

    @Test func messageThatBreaksItsFormatIs400() async throws {
        try await TestHub.with { hub in
            let frame = try Frame.encode([0xFF, 0xFF, 0xFF], usesDictionary: false)
            let token = try await hub.enrol().token
            for path in ["/v1/enroll", "/v1/sync", "/v1/history"] {
                #expect(try await hub.post(path, frame: frame, token: token).status == 400)
            }
        }
    }

    @Test func emptyBodyIs400() async throws {
        try await TestHub.with { hub in
            let answer = try await hub.post("/v1/enroll", frame: [])
            #expect(answer.status == 400)
        }
    }

    /// By that a device tells the server's own refusals from those of whatever stands between, such
    /// as a network that wants a login first.
    @Test(arguments: ["/v1/enroll", "/v1/sync", "/v1/history"])
    func refusalIsTextWhateverItIs(path: String) async throws {
        try await TestHub.with { hub in
            let enrolled = try await hub.enrol()
            let token = enrolled.token
            var unreadable = try Frame.encode([0xFF, 0xFF, 0xFF], usesDictionary: false)
            var answers = [
                try await hub.request("GET", path), try await hub.request("POST", path),
                try await hub.request("POST", path, fields: [("Authorization", "Bearer \(token)")]),
                try await hub.post(path, frame: unreadable, token: "stranger"),
                try await hub.post(path, frame: unreadable, token: token),
                try await hub.post(
                    path, frame: [UInt8](repeating: 0, count: Limits.frameBytesMax + 1),
                    token: token),
            ]
            unreadable[2] = 9
            answers.append(try await hub.post(path, frame: unreadable, token: token))
            try hub.ledger().revoke(device: enrolled.assignment.device)
            answers.append(try await hub.post(path, frame: unreadable, token: token))
            #expect(Set(answers.map(\.status)).isSuperset(of: [400, 405, 413, 415, 426]))
            for answer in answers {
                #expect(answer.status != 200)
                #expect(answer.fields["content-type"]?.hasPrefix("text/plain") == true)
            }
        }
    }

    @Test func errorIsTwoLinesOfText() async throws {
        try await TestHub.with { hub in
            let answer = try await hub.request("GET", "/nowhere")
            #expect(answer.fields["content-type"] == "text/plain; charset=utf-8")
            #expect(answer.text.split(separator: "\n").count == 2)
        }
    }

    // MARK: What is answered

    @Test func answersSpendNoBytesOnDateAndServer() async throws {
        try await TestHub.with { hub in
            let answer = try await hub.request("GET", "/healthz")
            #expect(answer.fields.keys.sorted() == ["content-length", "content-type"])
        }
    }

    @Test func needThatWasPushedIsInTheLedger() async throws {
        try await TestHub.with { hub in
            var device = TestDevice(token: try await hub.enrol().token, replica: 11)
            let (request, need) = device.recordingNeed("小区里缺路灯")
            let answer = try await hub.post(
                "/v1/sync", frame: Frame.encode(request.encoded(), usesDictionary: true),
                token: device.token)
            let outcomes = try SyncAnswer(
                decoding: Frame.decode(answer.body).message, for: request
            ).outcomes
            #expect(outcomes?.settledCounter == 3)
            let needs = try hub.ledger().needs()
            #expect(needs.map(\.id) == [need])
            #expect(needs.map(\.text) == ["小区里缺路灯"])
        }
    }

    @Test func historyOfANeedIsAnswered() async throws {
        try await TestHub.with { hub in
            var device = TestDevice(token: try await hub.enrol().token, replica: 11)
            let (request, need) = device.recordingNeed("小区里缺路灯")
            _ = try await hub.post(
                "/v1/sync", frame: Frame.encode(request.encoded(), usesDictionary: true),
                token: device.token)
            let answer = try await hub.post(
                "/v1/history",
                frame: Frame.encode(HistoryCoding.encode(record: need), usesDictionary: true),
                token: device.token)
            let entries = try HistoryCoding.decodeAnswer(Frame.decode(answer.body).message)
            #expect(
                Set(entries.map(\.field)) == [NeedField.text.rawValue, NeedField.grid.rawValue])
        }
    }

    /// 403 would tell the device that it was revoked.
    @Test func historyOfAStrangersRecordIs404() async throws {
        try await TestHub.with { hub in
            let token = try await hub.enrol().token
            let record = RecordID(milliseconds: 1, replica: ReplicaID(truncating: 5), number: 1)
            let answer = try await hub.post(
                "/v1/history",
                frame: Frame.encode(HistoryCoding.encode(record: record), usesDictionary: true),
                token: token)
            #expect(answer.status == 404)
        }
    }

    @Test(arguments: [true, false])
    func answerUsesTheDictionaryIfTheRequestDid(usesDictionary: Bool) async throws {
        try await TestHub.with { hub in
            let device = TestDevice(token: try await hub.enrol().token, replica: 11)
            let answer = try await hub.post(
                "/v1/sync",
                frame: Frame.encode(
                    device.request().encoded(), usesDictionary: usesDictionary,
                    namesDictionary: true),
                token: device.token)
            #expect(answer.fields["content-type"] == nil)
            #expect(try Frame.decode(answer.body).usedDictionary == usesDictionary)
        }
    }

    @Test func clientThatAsksFirstIsToldToGoOn() async throws {
        try await TestHub.with { hub in
            let frame = try Self.enrolFrame(code: try hub.invite())
            let port = hub.port
            let answer = try await offPool {
                let client = try TestClient(port: port)
                return try client.request(
                    "POST", "/v1/enroll",
                    fields: TestHub.fields(token: nil) + [("Expect", "100-continue")], body: frame)
            }
            #expect(answer.status == 200)
        }
    }

    @Test func everyOneOfManyDevicesAtOnceIsAnswered() async throws {
        try await TestHub.with { hub in
            var requests: [(token: String, frame: [UInt8])] = []
            for number in 1...40 {
                var device = TestDevice(
                    token: try await hub.enrol().token, replica: UInt64(number))
                let request = device.recordingNeed("第 \(number) 条").request
                requests.append(
                    (device.token, try Frame.encode(request.encoded(), usesDictionary: true)))
            }
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for (token, frame) in requests {
                    group.addTask {
                        try await hub.post("/v1/sync", frame: frame, token: token).status
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses == Array(repeating: 200, count: 40))
            #expect(try hub.ledger().needs().count == 40)
        }
    }

    // MARK: Connections

    /// It needs no token for that, and would use up the connections of all.
    @Test func whoAsksAndDoesNotReadIsDropped() async throws {
        try await TestHub.with(stillMax: .milliseconds(200)) { hub in
            let port = hub.port
            let isDropped = try await offPool {
                let client = try TestClient(port: port, isNarrow: true)
                for _ in 0..<2_000 { client.send("GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n") }
                return client.waitUntilDropped()
            }
            #expect(isDropped)
        }
    }

    @Test func idleConnectionIsClosed() async throws {
        try await TestHub.with(stillMax: .milliseconds(200)) { hub in
            let port = hub.port
            let isClosed = try await offPool { try TestClient(port: port).waitUntilDropped() }
            #expect(isClosed)
        }
    }

    // MARK: Starting and stopping

    @Test func secondServerOnOneLedgerIsRefused() async throws {
        try await TestHub.with { hub in
            await #expect(throws: HubStartError.alreadyServed(path: hub.ledgerPath)) {
                _ = try await HubApplication(
                    TestHub.options(hub.ledgerPath), onListening: { _ in })
            }
        }
    }

    @Test func ledgerIsFreeOnceItsServerStopped() async throws {
        let directory = try TestHub.makeDirectory()
        defer { TestHub.removeDirectory(directory) }
        try TestHub.makeLedger(at: directory + "/ledger")
        for _ in 0..<2 {
            let (ports, port) = AsyncStream.makeStream(of: Int.self)
            let application = try await HubApplication(
                TestHub.options(directory + "/ledger"), onListening: { port.yield($0) })
            let running = Task { try await application.run() }
            var iterator = ports.makeAsyncIterator()
            _ = await iterator.next()
            await application.stop()
            try await running.value
        }
    }

    @Test func missingLedgerIsSaidAndNothingIsMade() async throws {
        let directory = try TestHub.makeDirectory()
        defer { TestHub.removeDirectory(directory) }
        await #expect(throws: LedgerError.self) {
            _ = try await HubApplication(
                TestHub.options(directory + "/none"), onListening: { _ in })
        }
        #expect(throws: HubStartError.self) { _ = try LedgerLock(ledger: directory + "/no/dir") }
    }

    @Test func addressInUseIsSaid() async throws {
        try await TestHub.with { hub in
            let directory = try TestHub.makeDirectory()
            defer { TestHub.removeDirectory(directory) }
            try TestHub.makeLedger(at: directory + "/ledger")
            var options = TestHub.options(directory + "/ledger")
            options.address.port = hub.port
            let application = try await HubApplication(options, onListening: { _ in })
            await #expect(
                throws: HubStartError.listen(
                    address: "127.0.0.1:\(hub.port)", reason: "Address already in use")
            ) {
                try await application.run()
            }
        }
    }

    @Test func unknownHostIsSaid() async throws {
        let directory = try TestHub.makeDirectory()
        defer { TestHub.removeDirectory(directory) }
        try TestHub.makeLedger(at: directory + "/ledger")
        var options = TestHub.options(directory + "/ledger")
        // No name has an empty part, so no name server is asked.
        options.address.host = "no..name"
        let application = try await HubApplication(options, onListening: { _ in })
        let error = await #expect(throws: HubStartError.self) { try await application.run() }
        #expect(error?.description.hasPrefix("cannot listen on no..name:0: ") == true)
        #expect(error?.description.contains("Error") == false)
    }

    @Test func requestInHandIsAnsweredBeforeTheServerStops() async throws {
        try await TestHub.with { hub in
            var device = TestDevice(token: try await hub.enrol().token, replica: 11)
            let frame = try Frame.encode(
                device.recordingNeed("小区里缺路灯").request.encoded(), usesDictionary: true)
            let token = device.token
            let port = hub.port
            let half = frame.count / 2
            // Half of a request is with the server when it is told to stop.
            let client = Confined(try TestClient(port: port))
            try await offPool {
                client.value.send(
                    "POST /v1/sync HTTP/1.1\r\nHost: test\r\nContent-Type: \(Frame.mediaType)\r\n"
                        + "Authorization: Bearer \(token)\r\nContent-Length: \(frame.count)\r\n"
                        + "Expect: 100-continue\r\n\r\n")
                // Its head has been read for certain once it says so.
                client.value.waitForContinue()
                client.value.send(Array(frame[..<half]))
            }
            await hub.stop()
            try await offPool {
                // Nobody new is let in from here on.
                while (try? TestClient(port: port)) != nil {}
                client.value.send(Array(frame[half...]))
                let status = try client.value.answer().status
                #expect(status == 200)
                client.value.waitForEnd()
            }
            try await hub.waitUntilStopped()
            #expect(try hub.ledger().needs().count == 1)
        }
    }

    @Test func idleConnectionDoesNotKeepTheServer() async throws {
        try await TestHub.with { hub in
            let client = Confined(try TestClient(port: hub.port))
            try await offPool { _ = try client.value.request("GET", "/healthz") }
            await hub.stop()
            try await offPool { client.value.waitForEnd() }
            try await hub.waitUntilStopped()
        }
    }
}

/// Handed from thread to thread, used by one at a time: each step of a test awaits the one before.
final class Confined<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}

/// Writes the checksum anew after a frame was tampered with.
private func resealed(_ frame: [UInt8]) -> [UInt8] {
    var frame = frame
    var checksum: UInt32 = .max
    for byte in frame[7...] {
        checksum ^= UInt32(byte)
        for _ in 0..<8 { checksum = checksum >> 1 ^ (checksum & 1 == 1 ? 0xEDB8_8320 : 0) }
    }
    checksum = ~checksum
    for index in 0..<4 {
        frame[3 + index] = UInt8(truncatingIfNeeded: checksum >> (8 * UInt32(index)))
    }
    return frame
}
