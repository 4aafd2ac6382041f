import Glibc
import Logging
import NIOCore
import NIOEmbedded
import Testing

@testable import HubServer

@Suite struct StillConnectionCloserTests {
    private let channel: EmbeddedChannel

    init() throws {
        channel = EmbeddedChannel(handler: StillConnectionCloser(stillMax: .seconds(300)))
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    }

    private func wait(seconds: Int64) {
        channel.embeddedEventLoop.advanceTime(by: .seconds(seconds))
    }

    @Test func nothingMoves() {
        wait(seconds: 299)
        #expect(channel.isActive)
        wait(seconds: 1)
        #expect(!channel.isActive)
    }

    @Test func somethingComes() throws {
        wait(seconds: 200)
        try channel.writeInbound(ByteBuffer(string: "part"))
        wait(seconds: 299)
        #expect(channel.isActive)
        wait(seconds: 1)
        #expect(!channel.isActive)
    }

    /// The time counts from when that was noticed.
    @Test func clientTakesNothing() {
        channel.write(ByteBuffer(string: "answer"), promise: nil)
        wait(seconds: 599)
        #expect(channel.isActive)
        wait(seconds: 1)
        #expect(!channel.isActive)
    }

    @Test func clientTakesSlowly() {
        channel.write(ByteBuffer(string: "answer"), promise: nil)
        wait(seconds: 300)
        channel.flush()
        wait(seconds: 599)
        #expect(channel.isActive)
        wait(seconds: 1)
        #expect(!channel.isActive)
    }
}

@Suite struct ConnectionCapTests {
    /// Of a large machine they alone were more than was kept for all else.
    @Test func eventLoopsHaveDescriptorsOfTheirOwn() {
        #expect(HubLimits.descriptorsKept(loops: 100) - 3 * 100 >= 64)
    }

    @Test func capIsSaidOnceUntilHalfOfThemAreGone() {
        var ends: [Int32] = [0, 0]
        pipe(&ends)
        let log = ServerLog(file: ends[1])
        var cap = ConnectionCap(4, logger: log.logger(.warning))
        for _ in 0..<3 { cap.connectionOpened() }
        #expect(cap.isAcceptingNewConnections())
        for _ in 0..<5 {
            cap.connectionOpened()
            #expect(!cap.isAcceptingNewConnections())
            cap.connectionClosed()
        }
        for _ in 0..<3 { cap.connectionClosed() }
        for _ in 0..<4 { cap.connectionOpened() }
        log.flush()
        close(ends[1])
        defer { close(ends[0]) }
        var bytes = [UInt8](repeating: 0, count: 4_096)
        let count = read(ends[0], &bytes, bytes.count)
        let text = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        #expect(text.split(separator: "\n").count == 2)
        #expect(text.hasSuffix("others wait connections=4\n"))
    }
}
