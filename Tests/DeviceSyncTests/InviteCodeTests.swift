import Glibc
import SyncCore
import Testing

@testable import DeviceSync

@Suite struct InviteCodeTests {
    @Test(arguments: ["ABCD-1234", "abcd-1234", "  abcd-1234\n"])
    func codesAreReadAsTyped(text: String) throws {
        let code = try InviteCode(text)
        #expect(code.code == "ABCD-1234")
        #expect(code.pinnedKey == nil)
    }

    /// 32 bytes 0, 1, 2 … in base32, as Python's base64.b32encode writes them.
    static let digits = "AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQTCQKRMFYYDENBWHA5DYPQ"

    @Test func theKeyBehindItIsPinnedAndNotSent() throws {
        let code = try InviteCode("ABCD-1234-P" + Self.digits)
        #expect(code.code == "ABCD-1234")
        #expect(code.pinnedKey == Array(0..<32))
        #expect(try InviteCode("abcd-1234-p" + Self.digits.lowercased()) == code)
    }

    @Test func aShortGroupWithPIsNoKey() throws {
        let code = try InviteCode("ABCD-PQRS")
        #expect(code.code == "ABCD-PQRS")
        #expect(code.pinnedKey == nil)
    }

    @Test(arguments: [
        "", "   ", "AB CD", "ABCD_1234", "代码", String(repeating: "A", count: 257),
        // A digit that base32 lacks, and bits beyond 32 bytes.
        "ABCD-P1" + digits.dropFirst(), "ABCD-P" + digits.dropLast() + "R",
    ])
    func whatIsNoCodeIsRefused(text: String) throws {
        let error = try #require(throws: SyncError.self) { try InviteCode(text) }
        guard case .badCode = error else {
            Issue.record("\(error) instead of badCode")
            return
        }
        #expect(error.category == .usage)
    }
}

@Suite struct SystemClocksTests {
    @Test func theBootClockNeverGoesBackAndTheBootHasAName() {
        let first = SystemClocks.now()
        let second = SystemClocks.now()
        #expect(second.elapsedMilliseconds >= first.elapsedMilliseconds)
        #expect(first.elapsedMilliseconds > 0)
        #expect(first.boot != 0)
        #expect(second.boot == first.boot)
    }

    /// Also when the one clock's millisecond begins within the other's.
    @Test func clocksThatNobodySetsStayAsFarApart() {
        func time(_ nanoseconds: Int) -> timespec {
            timespec(
                tv_sec: nanoseconds / 1_000_000_000, tv_nsec: nanoseconds % 1_000_000_000)
        }
        let readings = (0..<40).map { step in
            let passed = 5_000_000_000 + step * 100_000
            return SystemClocks.reading(
                wall: time(passed + 1_795_000_000_123_456_789), elapsed: time(passed))
        }
        #expect(
            Set(readings.map { $0.wallMilliseconds - $0.elapsedMilliseconds })
                == [1_795_000_000_123])
        #expect(Set(readings.map(\.elapsedMilliseconds)) == [5_000, 5_001, 5_002, 5_003])
    }
}
