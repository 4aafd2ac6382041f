/// Returns how many terminal columns a text takes, control characters counting none.
///
/// Measures grapheme by grapheme, so that an emoji of seven scalars joined by U+200D takes two
/// columns. Agrees with PyPI `wcwidth` on the vectors in the tests; East Asian "ambiguous"
/// characters such as "…" take one column.
package func displayWidth(of text: String) -> Int {
    if let columns = columnsIfPrintableASCII(text) { return columns }
    return text.reduce(0) { $0 + displayWidth(of: $1) }
}

/// Returns the columns of one grapheme: 0, 1 or 2.
package func displayWidth(of grapheme: Character) -> Int {
    var columns = 0
    var base: Unicode.Scalar?
    var isJoined = false
    for scalar in grapheme.unicodeScalars {
        defer { isJoined = scalar == "\u{200D}" }
        switch scalar.value {
        case 0..<0x20, 0x7F..<0xA0:
            continue
        case 0xFE0F:  // The emoji variation selector widens what stands before it.
            if let base, contains(WidthRanges.widenedByEmojiSelector, base) { columns += 1 }
        case 0x1F3FB...0x1F3FF where base != nil:
            continue  // A skin tone colours the emoji before it and takes no room.
        default:
            // What is joined on is drawn into the same picture.
            if isJoined && base != nil { continue }
            let width = scalarWidth(scalar, isBehindBase: base != nil)
            if width > 0 && base == nil { base = scalar }
            columns += width
        }
    }
    // Flags are two wide scalars and Indic clusters can be many, but a cluster gets two columns.
    return min(columns, 2)
}

private func scalarWidth(_ scalar: Unicode.Scalar, isBehindBase: Bool) -> Int {
    if scalar.isASCII || contains(WidthRanges.zero, scalar) { return scalar.isASCII ? 1 : 0 }
    if contains(WidthRanges.wide, scalar) { return 2 }
    if contains(WidthRanges.spacingMarks, scalar) { return isBehindBase ? 1 : 0 }
    return 1
}

/// Searches flat, ascending pairs of first and last scalar.
private func contains(_ ranges: [UInt32], _ scalar: Unicode.Scalar) -> Bool {
    var low = 0
    var high = ranges.count / 2
    while low < high {
        let middle = (low + high) / 2
        if scalar.value < ranges[2 * middle] {
            high = middle
        } else if scalar.value > ranges[2 * middle + 1] {
            low = middle + 1
        } else {
            return true
        }
    }
    return false
}

/// Nearly all identifiers, times and numbers in a table: no need to look for graphemes.
private func columnsIfPrintableASCII(_ text: String) -> Int? {
    var columns = 0
    for byte in text.utf8 {
        guard (0x20..<0x7F).contains(byte) else { return nil }
        columns += 1
    }
    return columns
}

/// The side of its column where a text stands.
package enum Alignment: Sendable {
    case left
    case right
}

extension String {
    /// Returns the text if it fits, else its longest beginning that fits together with "…".
    ///
    /// Cuts between graphemes only, so the result can be one column short of `width` where a wide
    /// character did not fit any more. Empty for a width of 0 or less.
    package func truncate(toWidth width: Int) -> String {
        guard width > 0 else { return "" }
        var columns = 0
        var end = startIndex  // Where to cut, should the text turn out too long.
        for index in indices {
            columns += TerminalUI.displayWidth(of: self[index])
            if columns > width { return self[..<end] + "…" }
            if columns < width { end = self.index(after: index) }
        }
        return self
    }

    /// Fills the text up with spaces to `width` columns; a text that is wider stays as it is.
    package func pad(toWidth width: Int, alignment: Alignment = .left) -> String {
        let space = String(repeating: " ", count: max(0, width - displayWidth(of: self)))
        return alignment == .left ? self + space : space + self
    }
}
