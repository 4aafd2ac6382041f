extension RandomAccessCollection where Index == Int {
    /// Finds by halving where the second part of a collection begins.
    ///
    /// - Parameter belongsInSecondPart: True of no element before that place and of all from it on.
    /// - Returns: The end when it is true of none.
    @inlinable package func partitioningIndex(
        where belongsInSecondPart: (Element) throws -> Bool
    ) rethrows -> Int {
        var low = startIndex
        var high = endIndex
        while low < high {
            let middle = (low + high) / 2
            if try belongsInSecondPart(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
