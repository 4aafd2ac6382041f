/// Returns a text that cannot drive the terminal it is printed on.
///
/// A resident's words, or a hostile device's, may hold escape sequences that recolour the screen,
/// rename the window or, on some terminals, type commands. Every control character (C0, DEL, C1)
/// becomes U+FFFD, as do the separators U+2028 and U+2029 and the embeddings, overrides and
/// isolates that can show a line's characters in a false order (CVE-2021-42574). A tab becomes a
/// space. What scripts need stays: joiners, variation selectors, direction marks, Mongolian vowel
/// separators.
///
/// - Parameters:
///   - text: Anything, of any length.
///   - keepingLines: Whether line feeds stay; otherwise each line break becomes one space.
package func sanitised(_ text: String, keepingLines: Bool = false) -> String {
    guard text.unicodeScalars.contains(where: isUnsafeOnTerminal) else { return text }
    var result = String.UnicodeScalarView()
    var previous: Unicode.Scalar?
    for scalar in text.unicodeScalars {
        defer { previous = scalar }
        switch scalar {
        case "\n" where previous == "\r":
            continue  // The carriage return has already become the break.
        case "\n", "\r":
            result.append(keepingLines ? "\n" : " ")
        case "\t":
            result.append(" ")
        default:
            result.append(isUnsafeOnTerminal(scalar) ? "\u{FFFD}" : scalar)
        }
    }
    return String(result)
}

/// Whether a scalar moves the cursor, changes the terminal's state or reorders its neighbours.
func isUnsafeOnTerminal(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x20, 0x7F..<0xA0: true
    case 0x2028...0x202E, 0x2066...0x2069: true
    default: false
    }
}
