package import SyncCore

/// The typed meaning of a field's bytes.
///
/// Fields that only make sense together are one value, so that a merge cannot tear them apart.
///
/// - SeeAlso: `protocol/SPEC.md` §3, where each form's bytes are laid out.
package enum FieldValue: Hashable, Sendable {
    /// UTF-8, as it is.
    case text(String)
    /// A zigzag varint.
    case integer(Int64)
    /// Two zigzag varints: latitude and longitude in millionths of a degree (WGS 84).
    case location(latitude: Int64, longitude: Int64)
    case record(RecordID)
    case withdrawal(reason: String)
    case dispatch(Dispatch)
    case answer(Answer)
    case rating(Rating)

    /// A centre's order to a team.
    package struct Dispatch: Hashable, Sendable {
        /// Random, never zero: what answers name, so that none of them can be taken for an answer
        /// to another order. Settling a conflict in favour of an order keeps its number.
        package var order: UInt64
        package var team: String
        package var due: CivilDate?

        package init(order: UInt64, team: String, due: CivilDate?) {
            self.order = order
            self.team = team
            self.due = due
        }
    }

    package enum Verdict: UInt8, Sendable, CaseIterable {
        case accepted = 1
        case declined = 2
        case started = 3
        case finished = 4
    }

    /// What the team says to an order.
    package struct Answer: Hashable, Sendable {
        package var order: UInt64
        package var verdict: Verdict
        /// The reason of a decline, the result of a finish; otherwise empty.
        package var text: String

        package init(order: UInt64, verdict: Verdict, text: String = "") {
            self.order = order
            self.verdict = verdict
            self.text = text
        }
    }

    /// What the resident says of the finished job.
    package struct Rating: Hashable, Sendable {
        package var order: UInt64
        /// 1 to 5, 5 best.
        package var grade: Int
        package var comment: String

        package init(order: UInt64, grade: Int, comment: String = "") {
            self.order = order
            self.grade = grade
            self.comment = comment
        }
    }

    package enum Form: Sendable {
        case text, integer, location, record, withdrawal, dispatch, answer, rating
    }

    package var bytes: [UInt8] {
        var writer = ByteWriter()
        switch self {
        case .text(let text), .withdrawal(let text):
            return Array(text.utf8)
        case .integer(let number):
            writer.put(signed: number)
        case .location(let latitude, let longitude):
            writer.put(signed: latitude)
            writer.put(signed: longitude)
        case .record(let id):
            return id.bytes
        case .dispatch(let dispatch):
            writer.put(dispatch.order)
            writer.put(dispatch.team)
            if let due = dispatch.due { writer.put(signed: due.daysSince1970) }
        case .answer(let answer):
            writer.put(answer.order)
            writer.put(byte: answer.verdict.rawValue)
            if !answer.text.isEmpty { writer.put(answer.text) }
        case .rating(let rating):
            writer.put(rating.order)
            writer.put(rating.grade)
            if !rating.comment.isEmpty { writer.put(rating.comment) }
        }
        return writer.bytes
    }

    /// - Returns: `nil` when the bytes are not of that form.
    package init?(_ form: Form, bytes: [UInt8]) {
        let value = bytes.withUnsafeBufferPointer { FieldValue(form, $0) }
        guard let value else { return nil }
        self = value
    }

    private init?(_ form: Form, _ bytes: UnsafeBufferPointer<UInt8>) {
        guard let outline = FieldOutline(form, bytes) else { return nil }
        let text = String(decoding: bytes[outline.text], as: UTF8.self)
        switch form {
        case .text: self = .text(text)
        case .withdrawal: self = .withdrawal(reason: text)
        case .integer: self = .integer(outline.number)
        case .location:
            self = .location(latitude: outline.number, longitude: outline.longitude)
        case .record:
            guard let id = RecordID(bytes: UnsafeRawBufferPointer(bytes)) else { return nil }
            self = .record(id)
        case .dispatch:
            self = .dispatch(
                Dispatch(
                    order: outline.order, team: text,
                    due: outline.hasDue ? CivilDate(daysSince1970: outline.number) : nil))
        case .answer:
            guard let verdict = Verdict(rawValue: UInt8(outline.number)) else { return nil }
            self = .answer(Answer(order: outline.order, verdict: verdict, text: text))
        case .rating:
            self = .rating(
                Rating(order: outline.order, grade: Int(outline.number), comment: text))
        }
    }
}
