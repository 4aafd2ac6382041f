import Glibc

@testable import HubServer

/// One HTTP connection over a plain socket: sends exactly the bytes it is given.
///
/// Calls block, so tests make them through ``offPool(_:)``: the server under test answers on the
/// same cooperative threads.
final class TestClient {
    struct Answer: Sendable {
        var status: Int
        /// Names in lower case.
        var fields: [String: String]
        var body: [UInt8]

        var text: String { String(decoding: body, as: UTF8.self) }
    }

    enum Failure: Error {
        case connect(Int32)
        /// The connection ended before an answer was whole.
        case ended
    }

    private let descriptor: Int32
    private var received: [UInt8] = []

    /// - Parameter isNarrow: Whether the kernels, here and there, keep little of what is on its way.
    init(port: Int, isNarrow: Bool = false) throws {
        let opened = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if isNarrow {
            // The buffers of a connection grow with its segments.
            var bytes: Int32 = 536
            let length = socklen_t(MemoryLayout<Int32>.size)
            setsockopt(opened, Int32(IPPROTO_TCP), TCP_MAXSEG, &bytes, length)
            setsockopt(opened, SOL_SOCKET, SO_RCVBUF, &bytes, length)
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(opened, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else {
            let code = errno
            close(opened)
            throw Failure.connect(code)
        }
        // Assigned last: once it is, a throw would run `deinit`, which closes it.
        descriptor = opened
        // A test that waits for nothing fails rather than hangs.
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit {
        close(descriptor)
    }

    func send(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            // The server may close early; the answer, if any, tells.
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    func send(_ text: String) { send(Array(text.utf8)) }

    /// Sends a request with its length.
    func request(
        _ method: String, _ path: String, fields: [(String, String)] = [], body: [UInt8]? = nil
    ) throws -> Answer {
        var head = "\(method) \(path) HTTP/1.1\r\nHost: test\r\n"
        for (name, value) in fields { head += "\(name): \(value)\r\n" }
        if let body { head += "Content-Length: \(body.count)\r\n" }
        send(Array("\(head)\r\n".utf8) + (body ?? []))
        return try answer(hasBody: method != "HEAD")
    }

    /// Reads one answer, which must have a Content-Length.
    func answer(hasBody: Bool = true) throws -> Answer {
        let separator = Array("\r\n\r\n".utf8)
        while true {
            if let end = received.firstRange(of: separator) {
                let lines = String(decoding: received[..<end.lowerBound], as: UTF8.self)
                    .split(separator: "\r\n")
                let words = lines.first.map { $0.split(separator: " ") } ?? []
                guard words.count > 1, let status = Int(words[1]) else { throw Failure.ended }
                var fields: [String: String] = [:]
                for line in lines.dropFirst() {
                    let parts = line.split(separator: ":", maxSplits: 1)
                    let value = parts.count > 1 ? String(parts[1].drop { $0 == " " }) : ""
                    fields[parts[0].lowercased()] = value
                }
                received.removeSubrange(..<end.upperBound)
                if status == 100 { continue }
                let length = hasBody ? fields["content-length"].flatMap { Int($0) } ?? 0 : 0
                while received.count < length { try receive() }
                let body = Array(received[..<length])
                received.removeSubrange(..<length)
                return Answer(status: status, fields: fields, body: body)
            }
            try receive()
        }
    }

    /// Waits for the status 100 that a request with Expect asked for.
    func waitForContinue() {
        let end = Array("\r\n\r\n".utf8)
        while received.firstRange(of: end) == nil { guard (try? receive()) != nil else { return } }
    }

    /// Waits until the server closes the connection.
    func waitForEnd() {
        while (try? receive()) != nil {}
    }

    /// Waits until the server has dropped the connection, and reads nothing meanwhile; gives up
    /// after a minute.
    func waitUntilDropped() -> Bool {
        // POLLRDHUP, which Swift does not import.
        var end = pollfd(fd: descriptor, events: 0x2000, revents: 0)
        return poll(&end, 1, 60_000) > 0
    }

    private func receive() throws {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { throw Failure.ended }
        received.append(contentsOf: buffer[..<count])
    }
}

/// Runs blocking work beside Swift's cooperative threads.
func offPool<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value
{
    try await withCheckedThrowingContinuation { result in
        spawnThread { result.resume(with: Result { try work() }) }
    }
}
