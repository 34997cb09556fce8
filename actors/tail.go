package actors

import (
	"net/url"
	"strconv"
	"strings"
)

// Dapr lets an actor host and a binding answer a failure with a text only. The code, the entity and its sequence
// therefore follow the text in a short tail that our client takes off again:
//
//	quantity of tea is -1 [entities code=INVALID_ARGUMENT entity=shop.v1.ShoppingCart/cart-1 sequence=3]
//
// The entity is escaped as in a URL's query, so that no id can end the tail early. sdk/client holds the reader.
const tailStart = " [entities code="

// FailureText is e's text with the tail.
func FailureText(e *Error, r Ref, sequence int64) string {
	var b strings.Builder
	b.WriteString(e.Message)
	b.WriteString(tailStart)
	b.WriteString(e.Code.String())
	b.WriteString(" entity=")
	b.WriteString(url.QueryEscape(r.Service))
	b.WriteByte('/')
	b.WriteString(url.QueryEscape(r.ID))
	b.WriteString(" sequence=")
	b.WriteString(strconv.FormatInt(sequence, 10))
	b.WriteByte(']')
	return b.String()
}

// ParseFailureText takes the last tail in text off again and returns the code that it names, with the text before it.
// ok is false for a text without a tail. Dapr puts words of its own before a failure's text; they stay.
func ParseFailureText(text string) (e *Error, sequence int64, ok bool) {
	start := strings.LastIndex(text, tailStart)
	if start < 0 {
		return nil, 0, false
	}
	tail, _, found := strings.Cut(text[start+len(tailStart):], "]")
	fields := strings.Split(tail, " ")
	if !found || len(fields) != 3 {
		return nil, 0, false
	}
	code, known := ParseCode(fields[0])
	seq, hasSequence := strings.CutPrefix(fields[2], "sequence=")
	sequence, err := strconv.ParseInt(seq, 10, 64)
	if !known || code == OK || !hasSequence || err != nil || !strings.HasPrefix(fields[1], "entity=") {
		return nil, 0, false
	}
	return &Error{Code: code, Message: text[:start]}, sequence, true
}
