import NeedModel
import SyncCore
import WireFormat

/// What a device that brings back a need knows across its fields: which versions had not seen each
/// other. Of the others is claimed that they had seen whatever is older; that does no harm: only
/// the winner of a delete or of an order, and what goes to the late answers, is ever compared with
/// another field, and of these all that somebody had to decide is known.
///
/// - SeeAlso: `protocol/SPEC.md` §6, *A restored hub*.
struct UnseenVersions {
    private var contested: Set<UInt32> = []
    /// The answers and ratings that came late, by the dot that they have in either field.
    private var late: Set<Dot> = []
    // The least sequences.
    private var oldestDelete: UInt64?
    private var oldestContested: UInt64?
    private var oldestOrder: UInt64?
    private var oldestLate: UInt64?
    /// Of all that field 64 keeps, by the field that it came from.
    private var oldestKept: [UInt32: UInt64] = [:]
    /// Fields with one version.
    private var standAlone: Set<UInt32> = []

    init(in page: PageRecord) {
        guard page.kind == Kind.need.rawValue else { return }
        contested = Set(page.contested)
        let fields = page.fields
        let dispatch = fields.first { $0.field == NeedField.dispatch.rawValue }?.versions.first
        let order = LateAnswers.order(ofDispatch: dispatch?.value.bytes)
        for field in fields {
            let oldest = field.versions.map(\.sequence).min()
            if field.versions.count == 1 { standAlone.insert(field.field) }
            switch field.field {
            case NeedField.withdrawal.rawValue: oldestDelete = oldest
            case NeedField.dispatch.rawValue: oldestOrder = oldest
            case LateAnswers.field:
                for version in field.versions {
                    guard let source = version.value.bytes?.first.map(UInt32.init) else { continue }
                    oldestKept[source] = min(oldestKept[source] ?? .max, version.sequence)
                    guard LateAnswers.open(version.value.bytes, currentOrder: order) != nil
                    else { continue }
                    late.insert(version.stamp.dot)
                    oldestLate = min(oldestLate ?? .max, version.sequence)
                }
            default: break
            }
            if contested.contains(field.field), let oldest {
                oldestContested = min(oldestContested ?? .max, oldest)
            }
        }
    }

    /// The least sequence in other fields of what a version had not seen, or what had not seen it.
    func oldest(for version: PageRecord.Version, of field: UInt32) -> UInt64? {
        var sequences: [UInt64?] = []
        if contested.contains(field) { sequences.append(oldestDelete) }
        switch field {
        case NeedField.withdrawal.rawValue: sequences.append(oldestContested)
        case NeedField.dispatch.rawValue: sequences.append(oldestLate)
        case NeedField.answer.rawValue, NeedField.rating.rawValue:
            // It may go to what was kept, now or later, which those beside it may have covered here
            // alone. One that stands alone had seen all.
            if !standAlone.contains(field) { sequences.append(oldestKept[field]) }
            if late.contains(version.stamp.dot) { sequences.append(oldestOrder) }
        case LateAnswers.field:
            if late.contains(version.stamp.dot) { sequences.append(oldestOrder) }
        default: break
        }
        return sequences.compactMap { $0 }.min()
    }
}

extension PageRecord.Value {
    /// `nil` when it is cleared, or not there.
    var bytes: [UInt8]? {
        guard case .bytes(let bytes) = self else { return nil }
        return bytes
    }
}
