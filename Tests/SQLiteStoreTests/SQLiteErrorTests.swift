import Glibc
import SQLiteStore
import Testing

@Suite struct SQLiteErrorTests {
    /// SQLITE_IOERR_FSYNC, SQLITE_IOERR_SHMSIZE, SQLITE_CANTOPEN.
    @Test(arguments: [10 | 4 << 8, 10 | 19 << 8, 14] as [Int32])
    func fullDiskIsKnownBeneathOtherCodes(_ code: Int32) {
        for number in [ENOSPC, EDQUOT] {
            let error = SQLiteError(
                extendedCode: code, systemErrorNumber: number, operation: "commit")
            #expect(error.kind == .full)
        }
        let other = SQLiteError(extendedCode: code, systemErrorNumber: EIO, operation: "commit")
        #expect(other.kind != .full)
        #expect(other.code == code & 0xff)
        #expect(other.description.contains("Input/output error"))
    }
}
