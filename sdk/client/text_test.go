package client

import (
	"fmt"
	"net/url"

	"github.com/dapr-entities/entities/sdk"
)

// FailureText writes what the component writes. A test outside of the SDK, which may import both, holds the reader
// against the component's own writer.
func FailureText(e *sdk.Error, service, id string) string {
	return fmt.Sprintf("%s [entities code=%v entity=%s/%s sequence=%d]", e.Message, e.Code, url.QueryEscape(service), url.QueryEscape(id), e.Sequence)
}
