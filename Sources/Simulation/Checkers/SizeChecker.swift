import NeedModel
import SyncCore
import WireFormat

/// Invariant 23: nothing that travels is larger than its limit.
enum SizeChecker {
    static func check(_ request: SyncRequest, _ message: [UInt8], _ frame: [UInt8]) throws {
        try check(message, frame)
        let changes = request.groups.map(\.changes.count)
        try check(changes.reduce(0, +), Limits.changesPerBatchMax)
        try check(changes.max() ?? 0, Limits.changesPerGroupMax)
        try check(request.ancestors.count, Limits.ancestorsMax)
        try check(request.recovery?.reached.count ?? 0, Limits.reachedMax)
        try check(request.audit?.parts.count ?? 0, Limits.auditPartsMax)
        try check(request.audit?.refetch.count ?? 0, Limits.refetchedRecordsMax)
    }

    static func check(_ answer: SyncAnswer, _ message: [UInt8], _ frame: [UInt8]) throws {
        try check(message, frame)
        try check(answer.line.count, Limits.lineTermsMax)
        try check(answer.assignment?.scope.buckets.count ?? 0, Limits.bucketsPerScopeMax)
        for case .records(let records) in answer.page?.findings.map(\.content) ?? [] {
            try check(records.count, Limits.auditListMax)
        }
    }

    private static func check(_ message: [UInt8], _ frame: [UInt8]) throws {
        try check(message.count, Limits.inflatedBytesMax)
        try check(frame.count, Limits.frameBytesMax)
    }

    private static func check(_ count: Int, _ countMax: Int) throws {
        guard count <= countMax else {
            throw Violation(invariant: 23, what: "\(count) of at most \(countMax) travel")
        }
    }
}
