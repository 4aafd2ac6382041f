import NeedModel
import SyncCore
import WireFormat

// What a device asks when it holds something else than the ledger (DESIGN.md §4 rule 17). Answered
// in the transaction of a last page, so that everything is of one state: the page's cursor's.
//
// Who asks may hold what is right while this ledger's disk is wrong. So nothing is listed or sent
// again that is not what the ledger once admitted.

extension Feed {
    /// Adds records that the device asked for again, whole, as far as the page has room; the device
    /// asks for the rest again. What it may not hold, or what does not exist, departs; what the disk
    /// has altered neither comes nor departs.
    func refetch(
        _ ids: [RecordID], into collector: inout PageCollector, sources: RecordSources
    ) throws {
        var rest = ids[...]
        while !rest.isEmpty, !collector.isFull {
            var found: [(id: RecordID, record: StoredRecord?)] = []
            for id in rest.prefix(LedgerLimits.refetchedAtOnceMax) {
                do {
                    found.append((id, try storage.record(id)))
                } catch let error where error.isOfOneRow {
                    continue
                }
            }
            rest = rest.dropFirst(LedgerLimits.refetchedAtOnceMax)
            try sources.prepare(for: found.compactMap(\.record))
            for (id, record) in found where !collector.isFull {
                guard let record else {
                    collector.depart(id)
                    continue
                }
                // Where it lies is as doubtful as what it says.
                guard try sources.vouches(for: record) else { continue }
                if scope.contains(record.placement) {
                    collector.add(record, after: nil)
                } else {
                    collector.depart(id)
                }
            }
        }
    }

    /// Looks into parts of the scope. One that is beyond ``LedgerLimits/auditRecordsPerPageMax``
    /// records, but for the first, gets no answer; the device asks again.
    func findings(
        of parts: [AuditPart], sources: RecordSources
    ) throws -> [AuditFinding] {
        var findings: [AuditFinding] = []
        var recordCount = 0
        for part in parts where recordCount < LedgerLimits.auditRecordsPerPageMax {
            guard let index = part.bucket else {
                findings.append(
                    AuditFinding(
                        part: part, content: .digests(try storage.digests(of: scope.buckets))))
                continue
            }
            guard scope.buckets.indices.contains(index) else { continue }
            let content = try content(
                of: scope.buckets[index], prefix: part.prefix, counting: &recordCount,
                sources: sources)
            findings.append(AuditFinding(part: part, content: content))
        }
        return findings
    }

    /// Lists the records of a part when they are few, and divides it otherwise.
    private func content(
        of bucket: Bucket, prefix: [UInt8], counting recordCount: inout Int,
        sources: RecordSources
    ) throws -> AuditFinding.Content {
        var listed: [StoredRecord] = []
        var digests = [UInt64](repeating: 0, count: 256)
        let isDivisible = prefix.count < Limits.auditPrefixBytesMax
        var total = 0
        var key = Int64.min
        var isMore = true
        while isMore {
            let records = try storage.records(
                in: bucket, after: key, limit: LedgerLimits.recordsPerReadMax
            ) { sources.withhold($0) }
            isMore = records.count == LedgerLimits.recordsPerReadMax
            key = records.last?.key ?? key
            recordCount += records.count
            for record in records {
                let hash = BucketDigest.hash(of: record.id)
                guard hash.begins(with: prefix) else { continue }
                let digest = record.digest
                total += 1
                if isDivisible { digests[Int(hash.byte(prefix.count))] &+= digest }
                if total <= Limits.auditListMax { listed.append(record) }
            }
        }
        // Ids whose whole hashes are equal cannot be told apart; nobody has more than a few.
        if total > Limits.auditListMax && isDivisible { return .digests(digests) }
        try sources.prepare(for: listed)
        return .records(
            try listed.compactMap { record in
                let digest =
                    try sources.vouches(for: record)
                    ? record.digest : sources.admittedDigest(of: record)
                return digest.map { AuditFinding.Record(id: record.id, digest: $0) }
            })
    }
}
