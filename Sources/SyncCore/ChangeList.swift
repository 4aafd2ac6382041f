/// Where one value lies in a block of many.
package struct ValueSpan: Hashable, Sendable {
    package var field: UInt32
    /// Bytes; below 0 for what is no value.
    package var length: Int32
    /// Of the first byte, from the block's start.
    package var offset: UInt32

    /// The length that stands for a cleared field.
    package static let cleared: Int32 = -1

    package init(field: UInt32, length: Int32, offset: UInt32) {
        self.field = field
        self.length = length
        self.offset = offset
    }
}

/// The changes of one group, whose values lie in one block of memory with those of its whole
/// batch: a batch of a thousand needs has eleven thousand values, and memory for each by itself
/// would cost more than all that is done with them.
///
/// As a collection it makes each ``Change`` when asked; whoever handles many reads ``spans`` and
/// ``bytes``.
package struct ChangeList: RandomAccessCollection, Hashable, Sendable, ExpressibleByArrayLiteral {
    /// What the groups of one batch share.
    package final class Block: Sendable {
        /// All values, end to end.
        package let bytes: [UInt8]
        /// One for each change, in the order of the groups.
        package let spans: [ValueSpan]

        /// - Parameter spans: All within the bytes.
        package init(bytes: [UInt8], spans: [ValueSpan]) {
            self.bytes = bytes
            self.spans = spans
        }

        /// A copy; `nil` when the field is cleared.
        package func value(of span: ValueSpan) -> [UInt8]? {
            span.length < 0
                ? nil : bytes.copy(Int(span.offset)..<Int(span.offset) + Int(span.length))
        }
    }

    private let block: Block
    private let first: Int
    package let count: Int

    /// - Parameter range: Of the block's spans.
    package init(_ block: Block, _ range: Range<Int>) {
        precondition(range.upperBound <= block.spans.count, "changes that are there")
        self.block = block
        first = range.lowerBound
        count = range.count
    }

    package init(_ changes: some Sequence<Change>) {
        var bytes: [UInt8] = []
        var spans: [ValueSpan] = []
        for change in changes {
            spans.append(
                ValueSpan(
                    field: change.field,
                    length: change.value.map { Int32($0.count) } ?? ValueSpan.cleared,
                    offset: UInt32(bytes.count)))
            bytes += change.value ?? []
        }
        self.init(Block(bytes: bytes, spans: spans), 0..<spans.count)
    }

    package init(arrayLiteral changes: Change...) { self.init(changes) }

    package var startIndex: Int { 0 }
    package var endIndex: Int { count }

    /// Where the values lie in ``bytes``; indexes as in the block.
    package var spans: ArraySlice<ValueSpan> { block.spans[first..<first + count] }

    /// The block: also the values of other groups.
    package var bytes: [UInt8] { block.bytes }

    package func span(at position: Int) -> ValueSpan {
        precondition(position >= 0 && position < count, "a change that is there")
        return block.spans[first + position]
    }

    package subscript(position: Int) -> Change {
        let span = span(at: position)
        return Change(field: span.field, value: value(of: span))
    }

    /// A copy; `nil` when the field is cleared.
    package func value(of span: ValueSpan) -> [UInt8]? { block.value(of: span) }

    /// Whether a value is of exactly these bytes.
    package func isValue(_ span: ValueSpan, _ other: [UInt8]) -> Bool {
        other.withUnsafeBufferPointer { isValue(span, $0) }
    }

    /// Whether a value is this text.
    package func isValue(_ span: ValueSpan, _ other: String) -> Bool {
        var other = other
        return other.withUTF8 { isValue(span, $0) }
    }

    private func isValue(_ span: ValueSpan, _ other: UnsafeBufferPointer<UInt8>) -> Bool {
        guard Int(span.length) == other.count else { return false }
        return block.bytes.withUnsafeBufferPointer { bytes in
            for index in other.indices where bytes[Int(span.offset) + index] != other[index] {
                return false
            }
            return true
        }
    }

    package static func == (left: ChangeList, right: ChangeList) -> Bool {
        left.elementsEqual(right)
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(count)
        for change in self { hasher.combine(change) }
    }
}

extension UnsafeBufferPointer<UInt8> {
    /// A value of this block; the span must not stand for a cleared field.
    package func value(_ span: ValueSpan) -> UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(
            start: baseAddress.map { $0 + Int(span.offset) }, count: Int(span.length))
    }
}
