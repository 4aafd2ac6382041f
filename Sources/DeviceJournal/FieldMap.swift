/// Something for each field of a record, ascending by field.
///
/// Fields are few, and most maps are made to be read once: a list takes a third of the time that a
/// dictionary takes for that, and has an order.
@frozen package struct FieldMap<Value> {
    @usableFromInline var entries: [(key: UInt32, value: Value)] = []

    @inlinable package init() {}

    @inlinable package subscript(field: UInt32) -> Value? {
        get { entries.first { $0.key == field }?.value }
        set {
            // Mostly they come in their order.
            if let value = newValue, entries.last.map({ $0.key < field }) ?? true {
                return entries.append((field, value))
            }
            let index = entries.firstIndex { $0.key >= field } ?? entries.endIndex
            let isThere = index < entries.endIndex && entries[index].key == field
            switch newValue {
            case let value? where isThere: entries[index].value = value
            case let value?: entries.insert((field, value), at: index)
            case nil: if isThere { entries.remove(at: index) }
            }
        }
    }

    @inlinable package mutating func reserveCapacity(_ count: Int) {
        entries.reserveCapacity(count)
    }

    @inlinable package var values: some Collection<Value> { entries.lazy.map(\.value) }

    @inlinable package func mapValues<Other>(
        _ transform: (Value) -> Other
    ) -> FieldMap<Other> {
        var result = FieldMap<Other>()
        result.entries = entries.map { ($0.key, transform($0.value)) }
        return result
    }

    @inlinable package func filter(_ isWanted: (Element) -> Bool) -> FieldMap {
        var result = FieldMap()
        result.entries = entries.filter(isWanted)
        return result
    }
}

extension FieldMap: RandomAccessCollection {
    package typealias Element = (key: UInt32, value: Value)

    @inlinable package var startIndex: Int { entries.startIndex }
    @inlinable package var endIndex: Int { entries.endIndex }
    @inlinable package subscript(position: Int) -> Element { entries[position] }
}

extension FieldMap: Sendable where Value: Sendable {}

extension FieldMap: Equatable where Value: Equatable {
    @inlinable package static func == (left: FieldMap, right: FieldMap) -> Bool {
        left.entries.elementsEqual(right.entries) { $0.key == $1.key && $0.value == $1.value }
    }
}

extension FieldMap: Hashable where Value: Hashable {
    @inlinable package func hash(into hasher: inout Hasher) {
        hasher.combine(entries.count)
        for entry in entries {
            hasher.combine(entry.key)
            hasher.combine(entry.value)
        }
    }
}
