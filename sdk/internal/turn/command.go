package turn

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// Metadata in the form that handlers see.
func Metadata(in *cloudstate.Metadata) (m sdk.Metadata) {
	for _, e := range in.GetEntries() {
		entry := sdk.Entry{Key: e.GetKey(), Text: e.GetStringValue()}
		if b, ok := e.GetValue().(*cloudstate.MetadataEntry_BytesValue); ok {
			entry.Bytes = b.BytesValue
		}
		m = append(m, entry)
	}
	return m
}

// Refused is the answer for a handler's error.
func Refused(err error) *def.Failure {
	code := sdk.CodeOf(err)
	if _, coded := errors.AsType[*sdk.Error](err); code == sdk.CodeOK || !coded && code == sdk.CodeUnknown {
		code = 0
	}
	text := err.Error()
	if text == "" {
		text = code.String()
	}
	return &def.Failure{Code: int32(code), Text: strings.ToValidUTF8(text, "\uFFFD")}
}

// Broken is the answer to a command whose handler did not come to an end. Why is not for the caller, who can do nothing
// about it and need not see the inside of the program.
func Broken(service, command string, cause error) *def.Failure {
	return &def.Failure{
		Code:      int32(sdk.CodeInternal),
		Text:      fmt.Sprintf("%s of %s failed inside its handler; the log of the service has the details", command, service),
		Exception: true,
		Cause:     cause,
	}
}

// Unknown is the answer to a command that is not among those of the service.
func Unknown(service, command, known string) *def.Failure {
	return &def.Failure{
		Code:      int32(sdk.CodeUnimplemented),
		Text:      fmt.Sprintf("%s has no command %q; it has %s", service, command, known),
		Exception: true,
	}
}

// Names lists the keys in order.
func Names[V any](m map[string]V) string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }
