import Foundation
import Glibc
import Synchronization
import Testing

@testable import DeviceSync

/// Real libcurl over real sockets; nothing here waits for time to pass.
@Suite struct HTTPTransportTests {
    static let path = "/v1/sync"
    static let type = "application/vnd.waystation.sync; version=1"

    private func transport(
        _ server: LoopbackServer,
        _ change: (inout HTTPTransport.Settings) -> Void = { _ in }
    ) throws -> HTTPTransport {
        var settings = HTTPTransport.Settings(baseURL: server.url)
        change(&settings)
        return try HTTPTransport(settings: settings)
    }

    private func post(
        _ transport: HTTPTransport, token: String? = nil, body: [UInt8] = Array("ask".utf8),
        progress: HTTPTransport.Progress? = nil
    ) throws(TransportError) -> HTTPTransport.Response {
        try transport.post(
            path: Self.path, contentType: Self.type, token: token, body: body, progress: progress)
    }

    /// The error of a post that must fail.
    private func failure(_ transport: HTTPTransport, token: String? = nil) throws -> TransportError
    {
        try #require(throws: TransportError.self) { try post(transport, token: token) }
    }

    // MARK: Answers

    @Test func answerArrivesWhole() throws {
        let answer =
            "HTTP/1.1 503 Busy\r\nContent-Type: text/x\r\nRetry-After: 7\r\n"
            + "Content-Length: 5\r\n\r\nlater"
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send(answer)
        }
        let response = try post(transport(server))
        #expect(response.status == 503)
        #expect(response.body == Array("later".utf8))
        #expect(response.contentType == "text/x")
        #expect(response.retryAfterSeconds == 7)
        #expect(response.connectionsOpened == 1)
        #expect(response.bytesReceived == answer.utf8.count)
    }

    @Test func answerWithoutHeadersHasNone() throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send("HTTP/1.1 204 None\r\n\r\n")
        }
        let response = try post(transport(server))
        #expect(response.status == 204)
        #expect(response.body.isEmpty)
        #expect(response.contentType == nil)
        #expect(response.retryAfterSeconds == nil)
    }

    @Test func retryAfterIsCutToADay() throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send("HTTP/1.1 503 Busy\r\nRetry-After: 99999999\r\nContent-Length: 0\r\n\r\n")
        }
        #expect(try post(transport(server)).retryAfterSeconds == 86_400)
    }

    @Test func redirectIsNotFollowed() throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send("HTTP/1.1 307 Over There\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n")
        }
        #expect(try post(transport(server)).status == 307)
        #expect(server.requests.count == 1)
    }

    // MARK: Requests

    @Test func headersAreMinimal() throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send(.ok)
        }
        _ = try post(transport(server), token: "T0KEN")
        let request = try #require(server.requests.first)
        #expect(request.line == "POST \(Self.path) HTTP/1.1")
        #expect(
            request.headers.sorted() == [
                "Authorization: Bearer T0KEN", "Content-Length: 3", "Content-Type: \(Self.type)",
                "Host: 127.0.0.1:\(server.port)",
            ])
        #expect(request.body == Array("ask".utf8))
    }

    @Test func withoutTokenThereIsNoAuthorization() throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send(.ok)
        }
        _ = try post(transport(server))
        let headers = try #require(server.requests.first).headers
        #expect(!headers.contains { $0.lowercased().hasPrefix("authorization") })
    }

    /// libcurl sends a body below 64 KiB together with the headers, and asks to be allowed to
    /// send one above 1 MiB; none of that may show.
    @Test(arguments: [0, 1, 65_535, 65_536, 1 << 21])
    func bodyArrivesAndEveryByteIsCounted(byteCount: Int) throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send(.ok)
        }
        let body = (0..<byteCount).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let response = try post(transport(server), body: body)
        let request = try #require(server.requests.first)
        #expect(request.body == body)
        #expect(response.bytesSent == request.byteCount)
        #expect(response.bytesReceived == String.ok.utf8.count)
    }

    @Test func connectionIsKept() throws {
        let server = try LoopbackServer {
            while $0.receiveRequest() { $0.send(.ok) }
        }
        let transport = try transport(server)
        #expect(try post(transport).connectionsOpened == 1)
        #expect(try post(transport).connectionsOpened == 0)
        #expect(server.requests.count == 2)
        #expect(server.connectionCount == 1)
    }

    @Test func connectionThatDiedIsReplaced() throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send(.ok)
        }
        let transport = try transport(server)
        _ = try post(transport)
        #expect(try post(transport).body == Array("ok".utf8))
        #expect(server.connectionCount == 2)
    }

    @Test func progressIsReportedWhileTheServerThinks() throws {
        let reported = DispatchSemaphore(value: 0)
        let server = try LoopbackServer {
            $0.receiveRequest()
            reported.wait()
            $0.send(.ok)
        }
        var bytesUp = 0
        let response = try post(transport(server)) { up, _ in
            bytesUp = up
            reported.signal()
        }
        #expect(response.status == 200)
        #expect(bytesUp == 3)
    }

    // MARK: The network's faults

    @Test func refusedPortIsUnreachable() throws {
        let url = try LoopbackServer.refusingURL()
        let transport = try HTTPTransport(settings: .init(baseURL: url))
        guard case .unreachable(let fault) = try failure(transport) else {
            Issue.record("not unreachable")
            return
        }
        #expect(fault.curlCode == 7)
    }

    /// What is no HTTP, ends early or never comes, with the number libcurl gives it.
    @Test(arguments: [
        ("garbage", "garbage\r\n\r\n", 1),
        ("no answer", "", 52),
        ("headers cut", "HTTP/1.1 200 OK\r\nContent-Le", 56),
        ("empty line cut", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", 56),
        ("only interim", "HTTP/1.1 100 Continue\r\n\r\n", 52),
        ("body cut", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes.", 18),
        ("chunk cut", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", 18),
    ])
    func brokenAnswerIsUnreachable(name: String, answer: String, curlCode: Int) throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send(answer)
        }
        let error = try failure(transport(server))
        guard case .unreachable(let fault) = error else {
            Issue.record("\(error)")
            return
        }
        #expect(fault.curlCode == curlCode)
    }

    @Test func timeOverIsUnreachable() throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.waitForClose()
        }
        let error = try failure(transport(server) { $0.requestTimeoutMilliseconds = 30 })
        guard case .unreachable(let fault) = error else {
            Issue.record("\(error)")
            return
        }
        #expect(fault.curlCode == 28)
    }

    @Test func transportWorksAgainAfterAFault() throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send($0.number == 1 ? "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut" : .ok)
        }
        let transport = try transport(server)
        _ = try failure(transport)
        #expect(try post(transport).body == Array("ok".utf8))
    }

    // MARK: Bounds

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n123456789",
    ])
    func bodyBeyondTheBoundIsTooLarge(answer: String) throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send(answer)
        }
        #expect(
            try failure(transport(server) { $0.bytesMaximum = 8 }) == .tooLarge(bytesMaximum: 8))
    }

    @Test func bodyAtTheBoundIsTaken() throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send("HTTP/1.1 200 OK\r\n\r\n12345678")
        }
        #expect(try post(transport(server) { $0.bytesMaximum = 8 }).body.count == 8)
    }

    @Test func endlessHeadersAreTooLarge() throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send("HTTP/1.1 200 OK\r\n")
            while $0.send("X-Filler: \(String(repeating: "x", count: 1_000))\r\n") {}
        }
        #expect(try failure(transport(server)) == .tooLarge(bytesMaximum: 1 << 20))
    }

    // MARK: Interrupting

    @Test func cancelEndsARequestThatHangs() throws {
        let interrupt = Mutex<HTTPTransport.Interrupt?>(nil)
        let server = try LoopbackServer {
            $0.receiveRequest()
            interrupt.withLock { $0 }?.cancel()  // From the server's thread.
            $0.waitForClose()
        }
        let transport = try transport(server)
        interrupt.withLock { $0 = transport.interrupt }
        #expect(try failure(transport) == .interrupted)
        #expect(server.requests.count == 1)
    }

    @Test func cancelBetweenRequestsHoldsForGood() throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send(.ok)
        }
        let transport = try transport(server)
        transport.interrupt.cancel()
        #expect(try failure(transport) == .interrupted)
        #expect(try failure(transport) == .interrupted)
        #expect(server.requests.isEmpty)
    }

    @Test func interruptOutlivesItsTransport() throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send(.ok)
        }
        var transport: HTTPTransport? = try transport(server)
        _ = try transport.map { try post($0) }
        let interrupt = try #require(transport?.interrupt)
        transport = nil
        interrupt.cancel()
        #expect(interrupt.isCancelled)
    }

    // MARK: Addresses and secrets

    @Test(arguments: [
        ("http://hub", "http://hub"), ("HTTP://hub:80/", "http://hub:80"),
        ("https://驿站.example:8443", "https://驿站.example:8443"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://[fe80::1%eth0]", "https://[fe80::1%eth0]"),
    ])
    func addressIsTaken(text: String, origin: String) throws {
        #expect(try HubAddress(text).origin == origin)
    }

    @Test(arguments: [
        ("https://a.b", false), ("http://127.0.0.1:8080", false), ("HTTP://127.9.9.9", false),
        ("http://LocalHost", false), ("http://[::1]:1", false), ("http://a.b", true),
        ("HTTP://10.0.0.1", true), ("http://127.0.0.1.evil.invalid", true),
        ("http://localhost.invalid", true), ("http://[::2]", true), ("http://127.1", true),
    ])
    func whatAnybodyCanReadIsExposed(text: String, isExposed: Bool) throws {
        #expect(try HubAddress(text).isExposed == isExposed)
    }

    /// Whatever the locale is, a Chinese name is looked up in its ASCII form.
    @Test func aChineseNameIsLookedUp() throws {
        let error = try #require(throws: TransportError.self) {
            try HTTPTransport(settings: .init(baseURL: "http://驿站.invalid")).post(
                path: "/", contentType: "text/x", token: nil, body: [])
        }
        guard case .unreachable(let fault) = error else {
            Issue.record("\(error) instead of unreachable")
            return
        }
        #expect(fault.curlCode == 6)  // Not found, and not malformed.
    }

    @Test(arguments: [
        "", "hub", "hub:8080", "ftp://hub", "file:///etc/passwd", "http://", "http:///",
        "http://:80",
        "http://hub:", "http://hub:0", "http://hub:65536", "http://hub:+80", "http://hub:8o",
        "http://hub/path", "http://hub//", "http://hub?q", "http://hub#f", "http://a b",
        "http://hub\r\nX: y", "http://me:secret@hub", "http://[::1", "http://[]", "http://[::1]x",
        "http://[/]", " http://hub", "http://::1",
    ])
    func otherAddressIsRefused(text: String) throws {
        let error = try #require(throws: TransportError.self) {
            try HTTPTransport(settings: .init(baseURL: text))
        }
        #expect(error.code == 5)
        #expect(!"\(error)".contains("secret"))
    }

    @Test(arguments: [("https://hub", 31), ("http://hub", 32)])
    func uselessPinIsRefused(url: String, pinByteCount: Int) throws {
        let pin = [UInt8](repeating: 1, count: pinByteCount)
        let error = try #require(throws: TransportError.self) {
            try HTTPTransport(settings: .init(baseURL: url, pinnedKey: pin))
        }
        #expect(error.code == 5)
    }

    @Test(arguments: ["SECRET\r\nX-Forged: 1", "SECRET SECRET", "SECRÉT"])
    func tokenThatIsNoTokenIsRefusedAndNotQuoted(token: String) throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send(.ok)
        }
        let error = try failure(transport(server), token: token)
        #expect(error.code == 5)
        #expect(!"\(error) \(error.hint)".contains("SECR"))
        #expect(server.requests.isEmpty)
    }

    @Test func tokenIsInNoError() throws {
        let server = try LoopbackServer {
            $0.receiveRequest()
            $0.send("SECRET?\r\n\r\n")
        }
        let error = try failure(transport(server), token: "SECRET")
        #expect(!String(reflecting: error).contains("SECRET"))
        #expect(!error.hint.isEmpty)
    }
}

/// TLS against a key and a certificate made for the run, served by Python's `ssl`.
@Suite struct HTTPTransportTLSTests {
    private func post(_ settings: HTTPTransport.Settings) throws -> HTTPTransport.Response {
        try HTTPTransport(settings: settings).post(
            path: "/", contentType: "text/x", token: nil, body: Array("ask".utf8))
    }

    private func fault(_ settings: HTTPTransport.Settings) throws -> TransportError.Fault {
        let error = try #require(throws: TransportError.self) { try post(settings) }
        guard case .tls(let fault) = error else { throw error }
        return fault
    }

    @Test func rightPinIsEnough() throws {
        let server = try TLSServer()
        let response = try post(.init(baseURL: server.url, pinnedKey: server.pin))
        #expect(response.status == 200)
        #expect(response.body == Array("ask".utf8))
    }

    @Test func wrongPinIsRefused() throws {
        let server = try TLSServer()
        var pin = server.pin
        pin[31] ^= 1
        #expect(try fault(.init(baseURL: server.url, pinnedKey: pin)).curlCode == 90)
    }

    /// A pin does not fall back to names and authorities.
    @Test func wrongPinIsRefusedDespiteATrustedAuthority() throws {
        let server = try TLSServer()
        let settings = HTTPTransport.Settings(
            baseURL: server.url, authorityFile: server.certificateFile,
            pinnedKey: [UInt8](repeating: 0, count: 32))
        #expect(try fault(settings).curlCode == 90)
    }

    @Test func unknownAuthorityIsRefused() throws {
        let server = try TLSServer()
        #expect(try fault(.init(baseURL: server.url)).curlCode == 60)
    }

    @Test func namedAuthorityIsTrusted() throws {
        let server = try TLSServer()
        let settings = HTTPTransport.Settings(
            baseURL: server.url, authorityFile: server.certificateFile)
        #expect(try post(settings).status == 200)
    }

    @Test func missingAuthorityFileIsNamedAsTheFault() throws {
        let server = try TLSServer()
        let settings = HTTPTransport.Settings(
            baseURL: server.url, authorityFile: server.certificateFile + ".missing")
        #expect(try fault(settings).curlCode == 77)
    }

    @Test func httpsToAPlainServerIsRefused() throws {
        let server = try LoopbackServer { $0.send("HTTP/1.1 400 Bad\r\n\r\n") }
        let url = "https://127.0.0.1:\(server.port)"
        #expect(try fault(.init(baseURL: url)).curlCode == 35)
    }
}

// MARK: - Servers

extension String {
    fileprivate static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
}

/// Fails where a server cannot be set up.
private struct ServerFault: Error {
    let step: String
}

/// An HTTP server as simple as can be: one thread, one connection after another, on loopback.
private final class LoopbackServer: Sendable {
    struct Request: Sendable {
        let line: String
        let headers: [String]
        let body: [UInt8]
        let byteCount: Int
    }

    /// One accepted connection, closed when the handler returns.
    struct Connection {
        let socket: Int32
        /// From 1.
        let number: Int
        let server: LoopbackServer

        /// Reads and records one request; `false` when the client has closed.
        @discardableResult func receiveRequest() -> Bool {
            var bytes: [UInt8] = []
            var block = [UInt8](repeating: 0, count: 65_536)
            while true {
                if let request = LoopbackServer.parse(bytes) {
                    server.log.withLock { $0.requests.append(request) }
                    return true
                }
                let count = recv(socket, &block, block.count, 0)
                guard count > 0 else { return false }
                bytes += block[..<count]
            }
        }

        /// `false` when the client has closed.
        @discardableResult func send(_ text: String) -> Bool {
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes {
                    Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                }
                guard count > 0 else { return false }
                rest = rest.dropFirst(count)
            }
            return true
        }

        func waitForClose() {
            var byte: UInt8 = 0
            while recv(socket, &byte, 1, 0) > 0 {}
        }
    }

    private struct Log {
        var requests: [Request] = []
        var connectionCount = 0
    }

    let port: UInt16
    private let listener: Int32
    private let log = Mutex(Log())

    var url: String { "http://127.0.0.1:\(port)" }
    var requests: [Request] { log.withLock { $0.requests } }
    var connectionCount: Int { log.withLock { $0.connectionCount } }

    init(_ handler: @escaping @Sendable (Connection) -> Void) throws {
        bypassProxies
        (listener, port) = try Self.bound()
        guard listen(listener, 16) == 0 else { throw ServerFault(step: "listen") }
        let listener = listener
        // The thread must not hold the server, or its deinit would never end the thread.
        Thread.detachNewThread { [weak self] in
            while true {
                let socket = accept(listener, nil, nil)
                guard socket >= 0, let self else {
                    close(listener)
                    return
                }
                let number = self.log.withLock {
                    $0.connectionCount += 1
                    return $0.connectionCount
                }
                handler(Connection(socket: socket, number: number, server: self))
                // Reading to the end first, else closing could reset away what was sent.
                shutdown(socket, Int32(SHUT_WR))
                Connection(socket: socket, number: number, server: self).waitForClose()
                close(socket)
            }
        }
    }

    /// Wakes `accept`, whose thread then closes the socket and ends.
    deinit { shutdown(listener, Int32(SHUT_RDWR)) }

    /// An address where nothing listens: its socket is bound, so no one else can take it, and
    /// stays so until the process ends.
    static func refusingURL() throws -> String {
        bypassProxies
        return "http://127.0.0.1:\(try bound().port)"
    }

    private static func bound() throws -> (listener: Int32, port: UInt16) {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard socket >= 0 else { throw ServerFault(step: "socket") }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let failed = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, size) != 0 || getsockname(socket, $0, &size) != 0
            }
        }
        guard !failed else { throw ServerFault(step: "bind") }
        return (socket, UInt16(bigEndian: address.sin_port))
    }

    /// Returns the request that the bytes hold, `nil` while it is incomplete.
    private static func parse(_ bytes: [UInt8]) -> Request? {
        let headEnd = Array("\r\n\r\n".utf8)
        guard
            let end = bytes.indices.dropLast(3).first(where: {
                bytes[$0] == headEnd[0] && bytes[$0..<$0 + 4].elementsEqual(headEnd)
            })
        else { return nil }
        var lines = String(decoding: bytes[..<end], as: UTF8.self)
            .components(separatedBy: "\r\n")
        let line = lines.removeFirst()
        let length =
            lines.first { $0.hasPrefix("Content-Length: ") }
            .flatMap { Int($0.dropFirst(16)) } ?? 0
        let body = bytes[(end + 4)...]
        guard body.count >= length else { return nil }
        return Request(line: line, headers: lines, body: Array(body), byteCount: bytes.count)
    }
}

/// A child process that echoes POST bodies over TLS; it ends when its standard input closes, so
/// also when the test process dies.
private final class TLSServer {
    let url: String
    /// SHA-256 of the server's public key.
    let pin: [UInt8]
    let certificateFile: String
    private let folder: URL
    private let process = Process()
    private let input = Pipe()

    private static let making = """
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
            -subj /CN=hub -addext subjectAltName=IP:127.0.0.1 \
            -keyout key.pem -out certificate.pem 2> /dev/null &&
        openssl pkey -in key.pem -pubout -outform der | openssl dgst -sha256 -binary > pin
        """

    private static let serving = """
        import http.server, ssl, sys, threading
        class Echo(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def log_message(self, *arguments): pass
        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            def handle_error(self, *arguments): pass
        server = Server(("127.0.0.1", 0), Echo)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain("certificate.pem", "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_port, flush=True)
        sys.stdin.read()
        """

    init() throws {
        bypassProxies
        folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("waystation-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        certificateFile = folder.appendingPathComponent("certificate.pem").path

        let maker = Process()
        maker.executableURL = URL(fileURLWithPath: "/bin/sh")
        maker.arguments = ["-c", Self.making]
        maker.currentDirectoryURL = folder
        try maker.run()
        maker.waitUntilExit()
        guard maker.terminationStatus == 0 else { throw ServerFault(step: "openssl") }
        pin = Array(try Data(contentsOf: folder.appendingPathComponent("pin")))

        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", Self.serving]
        process.currentDirectoryURL = folder
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        let line = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
        guard let port = UInt16(line.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw ServerFault(step: "python3")
        }
        url = "https://127.0.0.1:\(port)"
    }

    deinit {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
        try? FileManager.default.removeItem(at: folder)
    }
}

/// libcurl sends even loopback through a proxy named in the environment.
private let bypassProxies: Void = {
    let names = ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    if names.contains(where: { getenv($0) != nil }) { setenv("no_proxy", "127.0.0.1", 1) }
}()
