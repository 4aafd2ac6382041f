import Glibc
import Logging
import Testing

@testable import HubServer

@Suite struct ServerLogTests {
    /// What a log wrote into a pipe until now.
    private struct Reader: ~Copyable {
        private var ends: [Int32] = [0, 0]
        var writingEnd: Int32 { ends[1] }

        init() {
            pipe(&ends)
            _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
        }

        deinit { for end in ends { close(end) } }

        func text() -> String {
            var bytes = [UInt8](repeating: 0, count: 1 << 16)
            let count = read(ends[0], &bytes, bytes.count)
            return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        }
    }

    @Test func requestsWaitAndTroubleTakesThemAlong() {
        let reader = Reader()
        let log = ServerLog(file: reader.writingEnd, waitsMilliseconds: 3_600_000)
        let logger = log.logger(.info)
        logger.info("first")
        logger.info("second")
        #expect(reader.text().isEmpty)
        logger.warning("trouble", metadata: ["b": "2", "a": "1"])
        let lines = reader.text().split(separator: "\n")
        #expect(
            lines.map { $0.split(separator: " ").dropFirst().joined(separator: " ") } == [
                "info first", "info second", "warning trouble a=1 b=2",
            ])
        let time = #/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ /#
        #expect(lines.allSatisfy { $0.firstMatch(of: time) != nil })
    }

    @Test func flushWritesWhatWaits() {
        let reader = Reader()
        let log = ServerLog(file: reader.writingEnd, waitsMilliseconds: 3_600_000)
        log.logger(.info).info("last words")
        log.flush()
        #expect(reader.text().hasSuffix(" info last words\n"))
        log.flush()
        #expect(reader.text().isEmpty)
    }

    /// Nobody can forge a line.
    @Test func lineBreaksAreNoLines() {
        let reader = Reader()
        let log = ServerLog(file: reader.writingEnd)
        log.logger(.info).error("one\ntwo", metadata: ["x": "3\r\n4"])
        #expect(reader.text().hasSuffix(" error one two x=3  4\n"))
    }

    @Test func lessThanTheLevelIsNotLogged() {
        let reader = Reader()
        let log = ServerLog(file: reader.writingEnd)
        log.logger(.warning).info("chatter")
        log.flush()
        #expect(reader.text().isEmpty)
    }
}
