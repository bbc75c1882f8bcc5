<?xml version="1.0" encoding="UTF-8"?>
<!-- SPDX-FileCopyrightText: the libvirt-vepa authors -->
<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->
<!--
  From what people write to what libvirt stores.

  Every <interface type='physical'> in the devices of a <domain> or <inactiveDomain>, at any depth, becomes a
  legal <interface type='ethernet'> with an unmanaged target; the request itself travels in that domain's own
  metadata. What is stored already is put right: a target that another tool dropped is made anew, names that
  are derived from the MAC follow it, a request whose interface is gone is dropped. Everything else is
  copied, and so is what other programs keep in the metadata, whatever it is. Running the sheet on its own
  result changes nothing.

  XSLT 1.0 without extensions:

      xsltproc -stringparam macs '52:54:00:12:34:56 52:54:00:12:34:57' stored.xsl guest.xml

  Parameters:
    macs   MAC addresses, separated by blanks, for the interfaces that have none, in document order. Default:
           none. Where the list ends, the Nth interface without a MAC gets 52:54:00:76:7X:XX, N in XXX: the
           same in every document, so give addresses of your own where guests share a network.
    part   what to make of a document that is a single <interface> (hotplug) and has no metadata: 'interface'
           (also '', the default) or 'request', which gives the metadata element. Both need the same macs.

  What nobody can mean (an unknown mode, a multicast MAC, a child that libvirt would drop) is not refused
  here but by guest.rng and by libvirt-vepa.
-->
<xsl:stylesheet version="1.0"
    xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
    xmlns:physical="urn:libvirt-vepa:physical:1"
    exclude-result-prefixes="physical">

  <xsl:output method="xml" encoding="UTF-8"/>
  <xsl:param name="macs" select="''"/>
  <xsl:param name="part" select="''"/>

  <xsl:variable name="hex" select="'0123456789abcdef'"/>
  <xsl:key name="request" match="metadata/physical:interfaces/physical:interface"
      use="concat(generate-id(../../..), ' ', @alias)"/>

  <!-- The interfaces that this sheet is about. A physical one in another program's metadata is not. -->
  <xsl:variable name="ours" select="/interface[@type = 'physical'] |
      (//domain | //inactiveDomain)[not(ancestor::metadata)]/devices/interface[@type = 'physical' or
      (@type = 'ethernet' and alias/@name and key('request', concat(generate-id(../..), ' ', alias/@name)))]"/>

  <xsl:template match="@* | node()">
    <xsl:copy><xsl:apply-templates select="@* | node()"/></xsl:copy>
  </xsl:template>

  <!-- == The domain: where the metadata goes, if it has none. libvirt writes it after these. == -->

  <xsl:template match="domain | inactiveDomain">
    <xsl:variable name="head" select="(name | uuid | genid | hwuuid | title | description)[last()]"/>
    <xsl:variable name="new" select="not(metadata) and devices/interface[@type = 'physical']"/>
    <xsl:copy>
      <xsl:apply-templates select="@*"/>
      <xsl:if test="$new and not($head)"><xsl:call-template name="metadata"/></xsl:if>
      <xsl:for-each select="node()">
        <xsl:apply-templates select="."/>
        <xsl:if test="$new and generate-id() = generate-id($head)">
          <xsl:for-each select=".."><xsl:call-template name="metadata"/></xsl:for-each>
        </xsl:if>
      </xsl:for-each>
    </xsl:copy>
  </xsl:template>

  <xsl:template name="metadata">
    <xsl:variable name="indent" select="text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
    <xsl:value-of select="$indent"/>
    <metadata>
      <xsl:if test="$indent"><xsl:value-of select="concat($indent, '  ')"/></xsl:if>
      <xsl:call-template name="requests"/>
      <xsl:value-of select="$indent"/>
    </metadata>
  </xsl:template>

  <!-- == The metadata: one wrapper, at the place of the first, or at the end. == -->

  <xsl:template match="domain/metadata/node() | inactiveDomain/metadata/node()" priority="1">
    <xsl:copy-of select="."/>
  </xsl:template>

  <xsl:template match="domain/metadata | inactiveDomain/metadata">
    <xsl:variable name="mine" select="$ours[generate-id(../..) = generate-id(current()/..)]"/>
    <xsl:variable name="others" select="*[not(self::physical:interfaces)] | comment() | processing-instruction()"/>
    <!-- What was only ours and is needed no more goes as a whole. -->
    <xsl:if test="$mine or $others or not(physical:interfaces)">
      <xsl:copy>
        <xsl:apply-templates select="@* | node()"/>
        <xsl:if test="$mine and not(../metadata/physical:interfaces) and not(preceding-sibling::metadata)">
          <xsl:variable name="indent" select="../text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
          <xsl:if test="not(node())"><xsl:value-of select="$indent"/></xsl:if>
          <xsl:if test="$indent"><xsl:text>  </xsl:text></xsl:if>
          <xsl:for-each select=".."><xsl:call-template name="requests"/></xsl:for-each>
          <xsl:value-of select="$indent"/>
        </xsl:if>
      </xsl:copy>
    </xsl:if>
  </xsl:template>

  <xsl:template match="domain/metadata/physical:interfaces | inactiveDomain/metadata/physical:interfaces" priority="2">
    <xsl:if test="generate-id() = generate-id(../../metadata/physical:interfaces) and
        $ours[generate-id(../..) = generate-id(current()/../..)]">
      <xsl:for-each select="../.."><xsl:call-template name="requests"/></xsl:for-each>
    </xsl:if>
  </xsl:template>

  <!-- The blanks before what goes, go too. -->
  <xsl:template match="metadata/text()[normalize-space() = '' and following-sibling::node()[1][self::physical:interfaces]]"
      priority="2">
    <xsl:if test="$ours[generate-id(../..) = generate-id(current()/../..)] and
        generate-id(following-sibling::*[1]) = generate-id(../../metadata/physical:interfaces)">
      <xsl:copy/>
    </xsl:if>
  </xsl:template>
  <xsl:template match="domain/text()[normalize-space() = '' and following-sibling::node()[1][self::metadata[physical:interfaces]]] |
      inactiveDomain/text()[normalize-space() = '' and following-sibling::node()[1][self::metadata[physical:interfaces]]]">
    <xsl:if test="$ours[generate-id(../..) = generate-id(current()/..)] or
        following-sibling::*[1]/node()[self::* or self::comment() or self::processing-instruction()][not(self::physical:interfaces)]">
      <xsl:copy/>
    </xsl:if>
  </xsl:template>

  <!-- The wrapper of the domain that is the current node: one request for each of its interfaces that has one. -->
  <xsl:template name="requests">
    <xsl:variable name="indent" select="text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
    <physical:interfaces>
      <xsl:for-each select="$ours[generate-id(../..) = generate-id(current())]">
        <xsl:if test="$indent"><xsl:value-of select="concat($indent, '    ')"/></xsl:if>
        <xsl:apply-templates select="." mode="request"/>
      </xsl:for-each>
      <xsl:if test="$indent"><xsl:value-of select="concat($indent, '  ')"/></xsl:if>
    </physical:interfaces>
  </xsl:template>

  <!-- == A request == -->

  <xsl:template match="interface[@type = 'ethernet']" mode="request">
    <physical:interface>
      <xsl:attribute name="alias"><xsl:call-template name="alias"/></xsl:attribute>
      <xsl:for-each select="key('request', concat(generate-id(../..), ' ', alias/@name))[1]">
        <xsl:copy-of select="@*[name() != 'alias'] | node()"/>
      </xsl:for-each>
    </physical:interface>
  </xsl:template>

  <xsl:template match="interface[@type = 'physical']" mode="request">
    <physical:interface>
      <xsl:attribute name="alias"><xsl:call-template name="alias"/></xsl:attribute>
      <xsl:attribute name="name"><xsl:value-of select="normalize-space(name)"/></xsl:attribute>
      <xsl:attribute name="type">
        <xsl:choose>
          <xsl:when test="type"><xsl:value-of select="normalize-space(type)"/></xsl:when>
          <xsl:otherwise>macvtap</xsl:otherwise>
        </xsl:choose>
      </xsl:attribute>
      <xsl:if test="target/@mode">
        <xsl:attribute name="mode">
          <xsl:choose>
            <xsl:when test="target/@mode = 'veb'">bridge</xsl:when>
            <xsl:when test="target/@mode = 'private'">pepa</xsl:when>
            <xsl:otherwise><xsl:value-of select="target/@mode"/></xsl:otherwise>
          </xsl:choose>
        </xsl:attribute>
      </xsl:if>
      <xsl:if test="not(parent::*)"><xsl:call-template name="of-the-device"/></xsl:if>
      <xsl:call-template name="of-a-vf"/>
    </physical:interface>
  </xsl:template>

  <!-- An interface that is attached to a running guest is in nobody's XML yet when its device is made: its request
       says what the device is to be. -->
  <xsl:template name="of-the-device">
    <xsl:attribute name="mac"><xsl:call-template name="mac"/></xsl:attribute>
    <xsl:attribute name="device">
      <xsl:call-template name="follow-mac">
        <xsl:with-param name="name" select="target/@dev"/>
        <xsl:with-param name="prefix" select="'vp'"/>
      </xsl:call-template>
    </xsl:attribute>
    <xsl:if test="mtu/@size"><xsl:attribute name="mtu"><xsl:value-of select="mtu/@size"/></xsl:attribute></xsl:if>
    <xsl:if test="driver/@queues">
      <xsl:attribute name="queues"><xsl:value-of select="driver/@queues"/></xsl:attribute>
    </xsl:if>
    <xsl:if test="bandwidth/outbound/@average">
      <xsl:attribute name="outbound"><xsl:value-of select="bandwidth/outbound/@average"/></xsl:attribute>
    </xsl:if>
  </xsl:template>

  <!-- What libvirt has no place for: the VLAN and the settings of the VF that the interface will be on. In a
       domain they stand two blanks further in than the request itself. -->
  <xsl:template name="of-a-vf">
    <xsl:variable name="indent" select="../../text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
    <xsl:for-each select="vlan">
      <xsl:if test="$indent"><xsl:value-of select="concat($indent, '      ')"/></xsl:if>
      <physical:vlan>
        <xsl:for-each select="tag"><physical:tag><xsl:copy-of select="@*"/></physical:tag></xsl:for-each>
      </physical:vlan>
    </xsl:for-each>
    <xsl:for-each select="vf">
      <xsl:if test="$indent"><xsl:value-of select="concat($indent, '      ')"/></xsl:if>
      <physical:vf><xsl:copy-of select="@*"/></physical:vf>
    </xsl:for-each>
    <xsl:if test="(vlan or vf) and $indent"><xsl:value-of select="concat($indent, '    ')"/></xsl:if>
  </xsl:template>

  <!-- == An interface == -->

  <xsl:template match="interface">
    <xsl:choose>
      <xsl:when test="count(. | $ours) != count($ours)">
        <xsl:copy><xsl:apply-templates select="@* | node()"/></xsl:copy>
      </xsl:when>
      <xsl:when test="not(parent::*) and $part = 'request'">
        <physical:interfaces><xsl:apply-templates select="." mode="request"/></physical:interfaces>
      </xsl:when>
      <xsl:otherwise><xsl:call-template name="ethernet"/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template name="ethernet">
    <xsl:variable name="indent" select="text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
    <interface type="ethernet">
      <xsl:apply-templates select="@*[name() != 'type']"/>
      <xsl:if test="not(mac)">
        <xsl:value-of select="$indent"/>
        <xsl:call-template name="mac-element"/>
        <xsl:if test="not(target)">
          <xsl:value-of select="$indent"/>
          <xsl:call-template name="target"/>
        </xsl:if>
      </xsl:if>
      <xsl:apply-templates select="node()" mode="content"/>
      <xsl:if test="not(alias)">
        <!-- What closes the interface stands before it; two more blanks make it the indent of a child. -->
        <xsl:if test="$indent"><xsl:text>  </xsl:text></xsl:if>
        <xsl:call-template name="alias-element"/>
        <xsl:value-of select="text()[last()][normalize-space() = '' and not(following-sibling::*)]"/>
      </xsl:if>
    </interface>
  </xsl:template>

  <xsl:template match="node()" mode="content"><xsl:copy-of select="."/></xsl:template>
  <xsl:template match="mac" mode="content">
    <xsl:call-template name="mac-element"/>
    <xsl:if test="not(../target)">
      <xsl:value-of select="../text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
      <xsl:call-template name="target"/>
    </xsl:if>
  </xsl:template>
  <xsl:template match="target" mode="content"><xsl:call-template name="target"/></xsl:template>
  <xsl:template match="alias" mode="content"><xsl:call-template name="alias-element"/></xsl:template>
  <!-- These are in the request now, and the blanks before them are of no use. -->
  <xsl:template match="name | type | interface[@type = 'physical']/vlan | interface[@type = 'physical']/vf" mode="content"/>
  <xsl:template match="text()[following-sibling::node()[1][self::name or self::type or
      (../@type = 'physical' and (self::vlan or self::vf))]]" mode="content" priority="2"/>
  <!-- A remark in the proposal's manner, behind an element, is none of the interface's content. -->
  <xsl:template match="text()[starts-with(normalize-space(), '//')]" mode="content" priority="1">
    <xsl:value-of select="../text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
  </xsl:template>

  <!-- == What is derived, for the interface that is the current node or holds it == -->

  <xsl:template name="mac-element">
    <mac>
      <xsl:attribute name="address"><xsl:call-template name="mac"/></xsl:attribute>
      <xsl:copy-of select="ancestor-or-self::interface[1]/mac/@*[name() != 'address']"/>
    </mac>
  </xsl:template>

  <xsl:template name="target">
    <xsl:variable name="dev" select="ancestor-or-self::interface[1]/target/@dev"/>
    <target>
      <xsl:attribute name="dev">
        <xsl:call-template name="follow-mac">
          <xsl:with-param name="name" select="$dev"/>
          <xsl:with-param name="prefix" select="'vp'"/>
        </xsl:call-template>
      </xsl:attribute>
      <xsl:attribute name="managed">no</xsl:attribute>
    </target>
  </xsl:template>

  <xsl:template name="alias-element">
    <alias><xsl:attribute name="name"><xsl:call-template name="alias"/></xsl:attribute></alias>
  </xsl:template>

  <xsl:template name="alias">
    <xsl:call-template name="follow-mac">
      <xsl:with-param name="name" select="ancestor-or-self::interface[1]/alias/@name"/>
      <xsl:with-param name="prefix" select="'ua-physical-'"/>
    </xsl:call-template>
  </xsl:template>

  <!-- A name that somebody chose; or else, or where it is a prefix and any twelve digits, the one that the MAC gives. -->
  <xsl:template name="follow-mac">
    <xsl:param name="name"/>
    <xsl:param name="prefix"/>
    <xsl:variable name="digits" select="substring-after($name, $prefix)"/>
    <xsl:choose>
      <xsl:when test="string($name) and not(starts-with($name, $prefix) and string-length($digits) = 12 and
          translate($digits, $hex, '') = '')">
        <xsl:value-of select="$name"/>
      </xsl:when>
      <xsl:otherwise>
        <xsl:variable name="mac"><xsl:call-template name="mac"/></xsl:variable>
        <xsl:value-of select="concat($prefix, translate($mac, ':', ''))"/>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- == MAC addresses == -->

  <xsl:template name="mac">
    <xsl:variable name="interface" select="ancestor-or-self::interface[1]"/>
    <xsl:choose>
      <xsl:when test="$interface/mac">
        <xsl:call-template name="pairs"><xsl:with-param name="rest" select="$interface/mac/@address"/></xsl:call-template>
      </xsl:when>
      <xsl:otherwise>
        <xsl:for-each select="$ours[not(mac)]">
          <xsl:if test="generate-id() = generate-id($interface)">
            <xsl:call-template name="given"><xsl:with-param name="number" select="position()"/></xsl:call-template>
          </xsl:if>
        </xsl:for-each>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- The MAC for the interface with that number among those that have none: from the list, each of which is
       17 characters and a blank, or the one that the number gives. -->
  <xsl:template name="given">
    <xsl:param name="number"/>
    <xsl:variable name="mac" select="substring($given, 18 * $number - 17, 17)"/>
    <xsl:value-of select="$mac"/>
    <xsl:if test="not($mac)">
      <xsl:value-of select="concat('52:54:00:76:7', substring($hex, floor($number div 256) mod 16 + 1, 1), ':',
          substring($hex, floor($number div 16) mod 16 + 1, 1), substring($hex, $number mod 16 + 1, 1))"/>
    </xsl:if>
  </xsl:template>

  <xsl:variable name="given">
    <xsl:call-template name="all-pairs"><xsl:with-param name="words" select="normalize-space($macs)"/></xsl:call-template>
  </xsl:variable>

  <xsl:template name="all-pairs">
    <xsl:param name="words"/>
    <xsl:if test="$words">
      <xsl:call-template name="pairs">
        <xsl:with-param name="rest" select="substring-before(concat($words, ' '), ' ')"/>
      </xsl:call-template>
      <xsl:text> </xsl:text>
      <xsl:call-template name="all-pairs"><xsl:with-param name="words" select="substring-after($words, ' ')"/></xsl:call-template>
    </xsl:if>
  </xsl:template>

  <!-- A MAC as libvirt reads it (one or two digits between colons) as six lower-case pairs. -->
  <xsl:template name="pairs">
    <xsl:param name="rest"/>
    <xsl:variable name="pair" select="substring-before(concat($rest, ':'), ':')"/>
    <xsl:if test="string-length($pair) = 1">0</xsl:if>
    <xsl:value-of select="translate($pair, 'ABCDEF', 'abcdef')"/>
    <xsl:if test="contains($rest, ':')">
      <xsl:text>:</xsl:text>
      <xsl:call-template name="pairs"><xsl:with-param name="rest" select="substring-after($rest, ':')"/></xsl:call-template>
    </xsl:if>
  </xsl:template>
</xsl:stylesheet>
