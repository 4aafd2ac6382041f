import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

// A device's part after a restore, as SPEC §6 has it, for whoever tests the hub's.

/// What a device shows, as it brings it.
func held(_ device: TestDevice, beyond shared: UInt64) -> [PageRecord] {
    device.state.sorted { ($0.value.kind, $0.key) < ($1.value.kind, $1.key) }
        .compactMap { id, record in
            func isLost(_ versions: [HeldRecord.Version]) -> Bool {
                versions.contains { $0.sequence > shared }
            }
            guard record.fields.values.contains(where: isLost) else { return nil }
            let telling = NeedConflicts.fieldsThatTell(
                contested: record.contested,
                hasLate: record.fields[LateAnswers.field] != nil)
            let fields = record.fields.filter {
                isLost($0.value) || telling.contains($0.key)
            }
            return PageRecord(
                id: id, kind: record.kind, createdMilliseconds: record.created,
                contested: record.contested, places: [],
                fields: fields.sorted { $0.key < $1.key }.map { field, versions in
                    PageRecord.Field(
                        field: field,
                        versions: versions.map {
                            PageRecord.Version(
                                value: $0.value.map { .bytes($0) } ?? .cleared,
                                stamp: $0.stamp, sequence: $0.sequence)
                        })
                })
        }
}

/// Brings back all that the hub has lost.
///
/// - Parameter reached: Where its pulls ended, one place a term; by default where the newest did.
@discardableResult
func bring(
    _ device: TestDevice, to copy: TestHub, reached: [Position]? = nil
) throws -> Position {
    var request = device.request(groups: [])
    let told = try copy.sync(device, request)
    let confirmed = try #require(told.recovered)
    let line = try #require(told.line.isEmpty ? nil : TermLine(told.line))
    let reached = reached ?? [device.cursor]
    let lost = LostPart(reached: reached, line: line, head: confirmed.sequence)
    request.recovery = SyncRequest.Recovery(
        confirmed: confirmed, reached: reached, records: held(device, beyond: lost.shared))
    let answer = try copy.sync(device, request)
    #expect(answer.page == nil && answer.outcomes == nil)
    #expect(try copy.ledger.check() == [])
    return try #require(answer.recovered)
}

/// The pull that ends a recovery.
@discardableResult
func endRecovery(
    _ device: TestDevice, at copy: TestHub, confirmed: Position
) throws -> SyncAnswer {
    var request = device.request(groups: [])
    request.recovery = SyncRequest.Recovery(
        confirmed: confirmed, reached: [device.cursor], records: [])
    let answer = try copy.sync(device, request)
    // It has pulled what was decided, and holds it no more.
    device.settled = []
    try device.absorb(answer, of: request)
    return answer
}
