package session_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/tckmodel"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// What the command Send of the entities in the transcripts sends: words joined by "+".
//
//	effect sync after at named     an effect with a JSON input
//	keyed empty wrong unkeyed      one with a protobuf input, whose key field names the entity, or does not
//	nobody                         one on no entity
//	cancel forward emit

type protoCall = sdk.Call[*tckmodel.Request, *tckmodel.Response]

const unkeyed sdk.Method[*tckmodel.Request, *tckmodel.Response] = "test.Other/Call"

func parseSend(word string) (call *protoCall, options []sdk.EffectOption, kind string) {
	of := func(c protoCall) *protoCall { return &c }
	switch word {
	case "sync":
		return nil, []sdk.EffectOption{sdk.Synchronous()}, word
	case "after":
		return nil, []sdk.EffectOption{sdk.After(1500 * time.Microsecond)}, word
	case "at":
		return nil, []sdk.EffectOption{sdk.At(time.UnixMilli(1893456000000))}, word
	case "named":
		return nil, []sdk.EffectOption{sdk.Named("k")}, word
	case "keyed":
		return of(tckmodel.CallTwo.On("a", &tckmodel.Request{Id: "a"})), nil, word
	case "empty":
		return of(tckmodel.CallTwo.On("a", new(tckmodel.Request))), nil, word
	case "wrong":
		return of(tckmodel.CallTwo.On("a", &tckmodel.Request{Id: "b"})), nil, word
	case "nobody":
		return of(unkeyed.On("", &tckmodel.Request{Id: "b"})), nil, word
	default:
		return nil, nil, word
	}
}

func showForward(f *cloudstate.Forward) string {
	return strings.TrimSpace(fmt.Sprintf("%s/%s/%s %s%s", f.GetServiceName(), f.GetEntityId(), f.GetCommandName(), show(f.GetPayload()),
		showMetadata(f.GetMetadata())))
}

func showEffects(effects []*cloudstate.SideEffect) string {
	var b strings.Builder
	for _, e := range effects {
		if e.GetCancel() {
			fmt.Fprintf(&b, " cancel %s", e.GetKey())
			continue
		}
		fmt.Fprintf(&b, " effect %s/%s/%s %s%s", e.GetServiceName(), e.GetEntityId(), e.GetCommandName(), show(e.GetPayload()),
			showMetadata(e.GetMetadata()))
		if e.GetSynchronous() {
			b.WriteString(" synchronous")
		}
		if n := e.GetDelayMillis(); n != 0 {
			fmt.Fprintf(&b, " after %d", n)
		}
		if n := e.GetDueMillis(); n != 0 {
			fmt.Fprintf(&b, " at %d", n)
		}
		if k := e.GetKey(); k != "" {
			fmt.Fprintf(&b, " named %s", k)
		}
	}
	return b.String()
}

func showMetadata(m *cloudstate.Metadata) string {
	var b strings.Builder
	for _, e := range m.GetEntries() {
		fmt.Fprintf(&b, " %s:%s", e.GetKey(), e.GetStringValue())
	}
	return b.String()
}
