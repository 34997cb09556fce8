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
