package client

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dapr-entities/entities/sdk"
)

// Dapr lets an entity answer a failure with a text only, and puts words of its own before it:
//
//	{"errorCode":"ERR_ACTOR_INVOKE_METHOD","message":"error invoke actor method: error from actor service: <text>"}
//
// so the component ends the text with a tail that says the rest:
//
//	the cart is empty [entities code=FAILED_PRECONDITION entity=shop.v1.ShoppingCart/cart-1 sequence=3]
//
// The entity is escaped as in a URL's query.
const tailStart = " [entities code="

// failure makes an error of an answer that is not a 2xx.
func failure(status int, body []byte) *sdk.Error {
	text := strings.TrimSpace(string(body))
	var answer struct {
		ErrorCode string `json:"errorCode"`
		Message   string `json:"message"`
	}
	if json.Unmarshal(body, &answer) == nil && answer.Message+answer.ErrorCode != "" {
		text = answer.Message
		if text == "" {
			text = answer.ErrorCode
		}
	}
	if e, ok := parseFailure(text); ok {
		return e
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return sdk.Errorf(codeOf(status), "the sidecar answers %d %s: %s", status, http.StatusText(status), text)
}

// maxText limits how much of an unknown answer an error shows, in bytes.
const maxText = 1 << 10

// parseFailure takes the tail, and Dapr's words, off a failure's text. ok is false if there is no tail.
func parseFailure(text string) (e *sdk.Error, ok bool) {
	// The tail is the text's end, but Dapr may put a suffix of its own after it.
	i := strings.LastIndex(text, tailStart)
	if i < 0 {
		return nil, false
	}
	message, tail := text[:i], text[i+len(tailStart):]
	tail, _, ok = strings.Cut(tail, "]")
	if !ok {
		return nil, false
	}
	name, rest, ok := strings.Cut(tail, " entity=")
	if !ok {
		return nil, false
	}
	entity, number, ok := strings.Cut(rest, " sequence=")
	if !ok {
		return nil, false
	}
	code, ok := sdk.ParseCode(name)
	if !ok {
		return nil, false
	}
	service, id, ok := strings.Cut(entity, "/")
	if !ok {
		return nil, false
	}
	service, err1 := url.QueryUnescape(service)
	id, err2 := url.QueryUnescape(id)
	sequence, err3 := strconv.ParseInt(number, 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || sequence < 0 {
		return nil, false
	}
	return &sdk.Error{Code: code, Message: strip(message), Entity: service + "/" + id, Sequence: sequence}, true
}

// strip takes Dapr's words off the front. Each phrase goes at its first place only, so that a handler's text that happens
// to hold one stays as it is.
func strip(text string) string {
	if rest, ok := strings.CutPrefix(text, "error invoking output binding "); ok {
		if _, after, ok := strings.Cut(rest, "rpc error: code = "); ok {
			if _, after, ok := strings.Cut(after, " desc = "); ok {
				return after
			}
		}
		_, after, ok := strings.Cut(rest, ": ")
		if ok {
			return after
		}
		return rest
	}
	if _, after, ok := strings.Cut(text, "error from actor service: "); ok {
		return after
	}
	return text
}

// codeOf is for answers that no entity gave. Dapr says 500 when it has not found the host of an actor, when that is
// going away, and much more of what may pass; the key makes it safe to ask again.
func codeOf(status int) sdk.Code {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return sdk.CodeInvalidArgument
	case http.StatusUnauthorized:
		return sdk.CodeUnauthenticated
	case http.StatusForbidden:
		return sdk.CodePermissionDenied
	case http.StatusNotFound:
		return sdk.CodeNotFound
	case http.StatusConflict:
		return sdk.CodeAborted
	case http.StatusTooManyRequests:
		return sdk.CodeResourceExhausted
	case http.StatusGatewayTimeout:
		return sdk.CodeDeadlineExceeded
	}
	if status >= 500 {
		return sdk.CodeUnavailable
	}
	return sdk.CodeUnknown
}
