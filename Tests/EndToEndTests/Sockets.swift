import Foundation
import Glibc
import Synchronization

/// A TCP socket on loopback; each call waits ten seconds at most.
final class Socket: Sendable {
    let descriptor: Int32

    private init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    private static func open() throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw Surprise("no socket: errno \(errno)") }
        return descriptor
    }

    private static func address(port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        return address
    }

    /// Connects to a port.
    convenience init(to port: Int) throws {
        self.init(descriptor: try Self.open())
        setTimeouts()
        var address = Self.address(port: port)
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
        }
        guard code == 0 else { throw Surprise("cannot connect to port \(port): errno \(errno)") }
    }

    /// Listens on a free port.
    static func listening() throws -> (socket: Socket, port: Int) {
        let socket = Socket(descriptor: try open())
        var address = address(port: 0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket.descriptor, $0, size) == 0 && listen(socket.descriptor, 16) == 0
                    && getsockname(socket.descriptor, $0, &size) == 0
            }
        }
        guard code else { throw Surprise("cannot listen: errno \(errno)") }
        return (socket, Int(in_port_t(bigEndian: address.sin_port)))
    }

    /// Waits for somebody to connect; `nil` after `milliseconds`.
    func accept(waiting milliseconds: Int32) -> Socket? {
        guard isReadable(waiting: milliseconds) else { return nil }
        let accepted = Glibc.accept(descriptor, nil, nil)
        guard accepted >= 0 else { return nil }
        let socket = Socket(descriptor: accepted)
        socket.setTimeouts()
        return socket
    }

    private func setTimeouts() {
        var bound = timeval(tv_sec: 10, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &bound, size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &bound, size)
    }

    func isReadable(waiting milliseconds: Int32) -> Bool {
        var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&wanted, 1, milliseconds) > 0
    }

    /// Sends all, or as much as the other side takes before it closes.
    func send(_ bytes: some Sequence<UInt8>) {
        var rest = Array(bytes)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    /// What has arrived, at most 64 KiB; empty when the other side has closed or stays silent.
    func receive() -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        return Array(buffer.prefix(max(0, count)))
    }

    /// Sends no more, but still receives.
    func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Ends both directions, also for whoever waits on this socket.
    func end() { shutdown(descriptor, Int32(SHUT_RDWR)) }
}

/// A server of another kind, on a thread of its own, until it is let go.
final class FakeServer: Sendable {
    let port: Int
    private let isStopped = Atomic(false)
    private let met = Atomic(0)

    var url: String { "http://127.0.0.1:\(port)" }
    /// How many connections were made.
    var connections: Int { met.load(ordering: .sequentiallyConsistent) }

    /// - Parameter serve: What it does with each connection, one at a time.
    init(_ serve: @escaping @Sendable (Socket) -> Void) throws {
        let (socket, port) = try Socket.listening()
        self.port = port
        let thread = Thread { [weak self] in
            while let self, !self.isStopped.load(ordering: .sequentiallyConsistent) {
                guard let connection = socket.accept(waiting: 20) else { continue }
                self.met.wrappingAdd(1, ordering: .sequentiallyConsistent)
                serve(connection)
            }
        }
        thread.start()
    }

    deinit { isStopped.store(true, ordering: .sequentiallyConsistent) }

    /// A network that wants one to sign in: a page, whatever is asked.
    static func captivePortal(status: Int = 200) throws -> FakeServer {
        try FakeServer { connection in
            _ = connection.receive()
            let page = "<html><title>Sign in</title></html>"
            connection.send(
                """
                HTTP/1.1 \(status) X\r\nContent-Type: text/html\r\nContent-Length: \(page.utf8.count)\r
                Connection: close\r\n\r\n\(page)
                """.utf8)
        }
    }

    /// Takes the connection and the request, and never answers.
    static func silent() throws -> FakeServer {
        let held = Mutex<[Socket]>([])
        return try FakeServer { connection in
            held.withLock { $0.append(connection) }
        }
    }
}

/// Stands between devices and a hub, passes everything on, and can cut at any byte.
final class CuttingProxy: Sendable {
    private let server: FakeServer
    private let state: State

    private final class State: Sendable {
        let armed = Mutex<(bytesLeft: Int, cut: @Sendable () -> Void)?>(nil)

        /// Counts what is to pass.
        ///
        /// - Returns: How much of it may.
        func pass(_ count: Int) -> (allowed: Int, cut: (@Sendable () -> Void)?) {
            armed.withLock { armed in
                guard let (left, cut) = armed else { return (count, nil) }
                guard count >= left else {
                    armed = (left - count, cut)
                    return (count, nil)
                }
                armed = nil
                return (left, cut)
            }
        }
    }

    init(before port: Int) throws {
        let state = State()
        self.state = state
        server = try FakeServer { client in
            guard let hub = try? Socket(to: port) else { return }
            while true {
                for (from, to) in [(client, hub), (hub, client)]
                where from.isReadable(waiting: 5) {
                    let part = from.receive()
                    guard !part.isEmpty else { return }
                    let (allowed, cut) = state.pass(part.count)
                    to.send(part.prefix(allowed))
                    if let cut {
                        cut()
                        return
                    }
                }
            }
        }
    }

    var url: String { server.url }

    /// Calls `cut`, once, when so many bytes have passed in both directions together, and drops
    /// the connection; everything after that passes again.
    func arm(after bytes: Int, cut: @escaping @Sendable () -> Void) {
        state.armed.withLock { $0 = (bytes, cut) }
    }

    /// Whether the cut has not come yet.
    var isArmed: Bool { state.armed.withLock { $0 != nil } }

    func disarm() { state.armed.withLock { $0 = nil } }
}
